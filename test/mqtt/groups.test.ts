/** Shared subscriptions at the emitter: who of a group gets a message, and what the store is told of it. */
import { describe, expect, it } from "vitest";
import { emitter } from "../../broker/mqtt/emitter.ts";
import type { Emitter } from "../../broker/mqtt/emitter.ts";
import { introduce, notTaken } from "../../broker/mqtt/message.ts";
import type { Message, Notify } from "../../broker/mqtt/message.ts";

const empty = Buffer.alloc(0);

function message(topic: string, qos: 0 | 1 | 2 = 0): Message {
  return { cmd: "publish", topic, payload: empty, qos, retain: false, dup: false };
}

interface Manner {
  readonly isReady?: boolean;
  readonly isStored?: boolean;
  readonly qos?: 0 | 1 | 2;
  /** What it answers; default that it took the message. "never" does not answer. */
  readonly answers?: "taken" | "not taken" | "later" | "never";
}

/** Clients that join groups, and who of them was asked, in order. */
function makeClients() {
  const asked: string[] = [];
  const later: ((outcome?: unknown) => void)[] = [];
  const join = (mq: Emitter, clientId: string, filter: string, manner: Manner = {}): (() => void) => {
    const { isReady = true, isStored = false, qos = 1, answers = "taken" } = manner;
    const notify: Notify = (_message, done) => {
      asked.push(clientId);
      if (answers === "later") later.push(done);
      else if (answers !== "never") done(answers === "taken" ? undefined : notTaken);
    };
    introduce(notify, { clientId, isReady, isStored, qos });
    mq.on(filter, notify);
    return () => void mq.removeListener(filter, notify);
  };
  return { asked, later, join };
}

function emitMany(mq: Emitter, topic: string, count: number): void {
  for (let index = 0; index < count; index += 1) mq.emit(message(topic));
}

describe("a group", () => {
  it("gives each message to one member, in turn", () => {
    const mq = emitter();
    const { asked, join } = makeClients();
    for (const clientId of ["a", "b", "c"]) join(mq, clientId, "$share/g/t/+");
    emitMany(mq, "t/1", 7);
    expect(asked).toEqual(["a", "b", "c", "a", "b", "c", "a"]);
  });

  it("gets its own copy beside other groups, other filters, and whoever listens alone", () => {
    const mq = emitter();
    const { asked, join } = makeClients();
    join(mq, "alone", "t/1");
    join(mq, "one", "$share/one/t/1");
    join(mq, "two", "$share/two/t/1");
    join(mq, "wide", "$share/one/t/#");
    join(mq, "elsewhere", "$share/one/u");
    let calls = 0;
    mq.emit(message("t/1"), () => (calls += 1));
    expect([asked.toSorted(), calls]).toEqual([["alone", "one", "two", "wide"], 1]);
  });

  it("whose filter begins with a wildcard gets no topic that begins with $", () => {
    const mq = emitter();
    const { asked, join } = makeClients();
    join(mq, "all", "$share/g/#");
    join(mq, "one", "$share/g/+/x");
    join(mq, "named", "$share/g/$SYS/#");
    mq.emit(message("$SYS/x"));
    expect(asked).toEqual(["named"]);
  });

  it.each(["$share/g", "$share/g/", "$share//a", "$share/+/a", "$shared/g/a"])("is not named by %s", (filter) => {
    const mq = emitter();
    const { asked, join } = makeClients();
    const leave = join(mq, "a", filter);
    mq.emit(message("a")).emit(message(filter));
    leave();
    mq.emit(message(filter));
    expect(asked).toEqual(["a"]);
  });

  it("takes members that no client stands behind", () => {
    const mq = emitter();
    let calls = 0;
    mq.on("$share/g/a", (_message, done) => {
      calls += 1;
      done();
    });
    mq.emit(message("a")).emit(message("a", 1));
    expect(calls).toBe(2);
  });

  it("goes on with the members that stay, and ends with the last", async () => {
    const mq = emitter();
    const { asked, join } = makeClients();
    const leave = ["a", "b", "c", "d"].map((clientId) => join(mq, clientId, "$share/g/t"));
    emitMany(mq, "t", 2);
    leave[0]!();
    leave[0]!();
    emitMany(mq, "t", 3);
    expect(asked.slice(2).toSorted()).toEqual(["b", "c", "d"]);
    for (const index of [3, 1]) leave[index]!();
    emitMany(mq, "t", 2);
    expect(asked.slice(5)).toEqual(["c", "c"]);
    const told = new Promise<void>((resolve) => void mq.removeAllListeners("$share/g/t", resolve));
    emitMany(mq, "t", 2);
    await told;
    expect([asked.length, [...mq.choose(message("t", 1)).groups]]).toEqual([7, []]);
  });

  it("ends with 100,000 members that leave at once", () => {
    const mq = emitter();
    const { asked, join } = makeClients();
    const leave = Array.from({ length: 100_000 }, (_none, index) => join(mq, String(index), "$share/g/t"));
    emitMany(mq, "t", 2);
    for (const one of leave) one();
    emitMany(mq, "t", 2);
    expect(asked).toEqual(["0", "1"]);
  });
});

describe("a member that is not ready", () => {
  it("is passed over while another is", () => {
    const mq = emitter();
    const { asked, join } = makeClients();
    join(mq, "busy", "$share/g/t", { isReady: false });
    join(mq, "a", "$share/g/t");
    join(mq, "b", "$share/g/t");
    emitMany(mq, "t", 4);
    expect(asked).toEqual(["a", "b", "a", "b"]);
  });

  it("is asked when no other is ready", () => {
    const mq = emitter();
    const { asked, join } = makeClients();
    join(mq, "a", "$share/g/t", { isReady: false });
    join(mq, "b", "$share/g/t", { isReady: false });
    emitMany(mq, "t", 3);
    expect(asked).toEqual(["a", "b", "a"]);
  });
});

it("takes a member that cannot say whether it is ready for one that is not", () => {
  const mq = emitter();
  const { asked, join } = makeClients();
  const broken: Notify = (_message, done) => {
    asked.push("broken");
    done(notTaken);
  };
  introduce(broken, {
    clientId: "broken",
    isStored: false,
    qos: 0,
    get isReady(): boolean {
      throw new Error("no");
    },
  });
  mq.on("$share/g/t", broken);
  join(mq, "a", "$share/g/t", { answers: "not taken" });
  let calls = 0;
  for (let index = 0; index < 2; index += 1) mq.emit(message("t"), () => (calls += 1));
  expect([asked, calls]).toEqual([["a", "broken", "a", "broken"], 2]);
});

describe("a message that a member does not take", () => {
  it("is offered to the next, those that are ready first, until one takes it", () => {
    const mq = emitter();
    const { asked, join } = makeClients();
    join(mq, "a", "$share/g/t", { answers: "not taken" });
    join(mq, "busy", "$share/g/t", { isReady: false });
    join(mq, "b", "$share/g/t", { answers: "not taken" });
    join(mq, "c", "$share/g/t");
    let calls = 0;
    mq.emit(message("t"), () => (calls += 1));
    expect([asked, calls]).toEqual([["a", "b", "c"], 1]);
  });

  it("is done when everyone was asked once", () => {
    const mq = emitter();
    const { asked, join } = makeClients();
    for (const clientId of ["a", "b", "c"]) join(mq, clientId, "$share/g/t", { answers: "not taken" });
    join(mq, "busy", "$share/g/t", { answers: "not taken", isReady: false });
    let calls = 0;
    mq.emit(message("t"), () => (calls += 1));
    expect([asked, calls, mq.current]).toEqual([["a", "b", "c", "busy"], 1, 0]);
  });

  it("is offered on when the answer comes later, to those that are still there", () => {
    const mq = emitter();
    const { asked, later, join } = makeClients();
    join(mq, "a", "$share/g/t", { answers: "later" });
    const leave = join(mq, "b", "$share/g/t");
    const leaveLate = join(mq, "e", "$share/g/t");
    join(mq, "c", "$share/g/t", { answers: "later" });
    join(mq, "d", "$share/g/t", { answers: "later" });
    let calls = 0;
    mq.emit(message("t"), () => (calls += 1));
    leave();
    later[0]!(notTaken);
    later[0]!(notTaken);
    expect([asked, calls]).toEqual([["a", "d"], 0]);
    leaveLate();
    later[1]!(notTaken);
    expect([asked, calls]).toEqual([["a", "d", "c"], 0]);
    later[2]!();
    later[2]!(notTaken);
    expect([asked, calls]).toEqual([["a", "d", "c"], 1]);
  });

  it("is not offered on when the member threw, or never answers", () => {
    const told: unknown[] = [];
    const mq = emitter({ error: (error) => told.push(error) });
    const { asked, join } = makeClients();
    mq.on("$share/g/t", () => {
      throw "broken";
    });
    mq.on("$share/g/u", () => undefined);
    for (const topic of ["t", "u"]) join(mq, "next", `$share/g/${topic}`);
    const done: string[] = [];
    for (const topic of ["t", "u"]) mq.emit(message(topic), () => done.push(topic));
    expect([told, done, asked]).toEqual([["broken"], ["t"], []]);
  });

  it("goes round 100,000 members that answer at once", () => {
    const mq = emitter();
    const { asked, join } = makeClients();
    for (let index = 0; index < 100_000; index += 1) join(mq, "a", "$share/g/t", { answers: "not taken" });
    let calls = 0;
    mq.emit(message("t"), () => (calls += 1));
    expect([asked.length, calls]).toEqual([100_000, 1]);
  });

  it("does not hold up whoever listens alone", () => {
    const mq = emitter();
    const { asked, join } = makeClients();
    join(mq, "a", "$share/g/t", { answers: "not taken" });
    join(mq, "alone", "t", { answers: "not taken" });
    let calls = 0;
    mq.emit(message("t"), () => (calls += 1));
    expect([asked.toSorted(), calls]).toEqual([["a", "alone"], 1]);
  });
});

describe("what is chosen before a message is emitted", () => {
  const stored = { isStored: true, qos: 2 } as const;

  it("is told to the store, and kept to: members with a stored queue are not notified, others are", () => {
    const mq = emitter();
    const { asked, join } = makeClients();
    join(mq, "kept", "$share/one/t", stored);
    join(mq, "other", "$share/one/t");
    join(mq, "live", "$share/two/t");
    const first = message("t", 1);
    const second = message("t", 1);
    const choices = [first, second].map((one) => mq.choose(one));
    expect(choices.map((choice) => choice.stored)).toEqual([[{ clientId: "kept", qos: 2 }], []]);
    expect(choices.map(({ groups }) => [...groups].toSorted())).toEqual([
      ["$share/one/t", "$share/two/t"],
      ["$share/one/t", "$share/two/t"],
    ]);
    expect(mq.choose(first)).toEqual(choices[0]);
    // in whichever order they are emitted
    mq.emit(second);
    expect(asked.splice(0).toSorted()).toEqual(["live", "other"]);
    let calls = 0;
    mq.emit(first, () => (calls += 1));
    expect([asked, calls]).toEqual([["live"], 1]);
  });

  it.each<[string, 0 | 1 | 2, Manner]>([
    ["of QoS 0", 0, stored],
    ["that the member takes at QoS 0", 1, { isStored: true, qos: 0 }],
    ["for a member without a stored queue", 2, { isStored: false, qos: 2 }],
  ])("is notified when it is a message %s", (_what, qos, manner) => {
    const mq = emitter();
    const { asked, join } = makeClients();
    join(mq, "a", "$share/g/t", manner);
    const one = message("t", qos);
    const { stored, groups } = mq.choose(one);
    mq.emit(one);
    expect([stored, [...groups], asked]).toEqual([[], ["$share/g/t"], ["a"]]);
  });

  it("is chosen by the emitter itself when nobody asked before", () => {
    const mq = emitter();
    const { asked, join } = makeClients();
    join(mq, "a", "$share/g/t", stored);
    mq.emit(message("t", 1));
    expect(asked).toEqual(["a"]);
  });

  it("counts as a turn once", () => {
    const mq = emitter();
    const { asked, join } = makeClients();
    for (const clientId of ["a", "b", "c"]) join(mq, clientId, "$share/g/t");
    for (let index = 0; index < 4; index += 1) {
      const one = message("t", 1);
      mq.choose(one);
      mq.choose(one);
      mq.emit(one);
    }
    expect(asked).toEqual(["a", "b", "c", "a"]);
  });

  it("is kept to once", () => {
    const mq = emitter();
    const { asked, join } = makeClients();
    join(mq, "a", "$share/g/t", stored);
    const one = message("t", 1);
    mq.choose(one);
    mq.emit(one);
    expect(asked).toEqual([]);
    mq.emit(one);
    expect(asked).toEqual(["a"]);
  });

  it("is replaced by another member when it left, and not when the store has it", () => {
    const mq = emitter();
    const { asked, join } = makeClients();
    const leave = [join(mq, "live", "$share/g/t"), join(mq, "kept", "$share/g/t", stored)];
    join(mq, "next", "$share/g/t");
    const [first, second, third] = [message("t", 1), message("t", 1), message("t", 1)];
    expect([first, second].map((one) => mq.choose(one).stored.length)).toEqual([0, 1]);
    for (const one of leave) one();
    mq.emit(first).emit(second);
    expect(asked).toEqual(["next"]);
    mq.emit(third);
    expect(asked).toEqual(["next", "next"]);
  });

  it("is replaced by whoever joins when all have left", () => {
    const mq = emitter();
    const { asked, join } = makeClients();
    const leave = join(mq, "a", "$share/g/t");
    const one = message("t", 1);
    mq.choose(one);
    leave();
    join(mq, "b", "$share/g/t");
    mq.emit(one);
    expect(asked).toEqual(["b"]);
  });

  it("leaves a group that had no member to the store", () => {
    const mq = emitter();
    const { asked, join } = makeClients();
    join(mq, "elsewhere", "$share/g/u");
    const one = message("t", 1);
    expect([...mq.choose(one).groups]).toEqual([]);
    join(mq, "late", "$share/g/t");
    mq.emit(one);
    expect(asked).toEqual([]);
    mq.emit(message("t", 1));
    expect(asked).toEqual(["late"]);
  });
});
