/** The emitter: the suite of mqemitter's contract, and what is asked beyond it. */
import { createRequire } from "node:module";
import { describe, expect, it, vi } from "vitest";
import { emitter } from "../../broker/mqtt/emitter.ts";
import type { Emitter } from "../../broker/mqtt/emitter.ts";
import type { Message, Notify } from "../../broker/mqtt/message.ts";
import { nodeTest } from "./node-test.ts";

type Suite = (options: { readonly builder: typeof emitter; readonly test: typeof nodeTest }) => void;

describe("mqemitter's abstract suite", () => {
  const suite = createRequire(import.meta.url)("mqemitter/abstractTest.js") as Suite;
  suite({ builder: emitter, test: nodeTest });
});

const empty = Buffer.alloc(0);

function message(topic: string, clientId?: string): Message {
  const packet = { cmd: "publish", topic, payload: empty, qos: 0, retain: false, dup: false } as const;
  return clientId === undefined ? packet : { ...packet, clientId };
}

const atOnce: Notify = (_message, done) => done();

/** Resolves when every immediate that was set until now has run. */
const soon = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

/** Listens and keeps what it is to call back with. */
function holding(mq: Emitter, filter: string): { readonly topics: string[]; readonly done: (() => void)[] } {
  const held = { topics: [] as string[], done: [] as (() => void)[] };
  mq.on(filter, ({ topic }, done) => {
    held.topics.push(topic);
    held.done.push(done);
  });
  return held;
}

describe("a message that is done", () => {
  it("is called back once, with nothing, when the last listener is done", () => {
    const mq = emitter();
    const held = [holding(mq, "a"), holding(mq, "+"), holding(mq, "#")];
    const calls: unknown[][] = [];
    mq.emit(message("a"), (...values) => calls.push(values));
    for (const { done } of held) {
      expect([calls, mq.current]).toEqual([[], 1]);
      done[0]!();
    }
    expect([calls, mq.current]).toEqual([[[]], 0]);
  });

  it("does not take the second answer of a listener for that of another, nor a late one", () => {
    const mq = emitter();
    const first = holding(mq, "a");
    const second = holding(mq, "a");
    let calls = 0;
    mq.emit(message("a"), () => (calls += 1));
    first.done[0]!();
    first.done[0]!();
    expect(calls).toBe(0);
    second.done[0]!();
    for (const { done } of [first, second]) done[0]!();
    expect([calls, mq.current]).toEqual([1, 0]);
  });

  it.each(["with nobody who listens", "with one who is done at once"])(
    "counts as current in its callback, %s",
    (who) => {
      const mq = emitter();
      if (who.includes("one")) mq.on("a", atOnce);
      const seen: number[] = [];
      mq.emit(message("a"), () => seen.push(mq.current));
      expect([seen, mq.current]).toEqual([[1], 0]);
    },
  );

  it("is held up by a listener that never answers, and holds up no other", () => {
    const mq = emitter();
    mq.on("silent", () => undefined);
    mq.on("+", atOnce);
    const done: string[] = [];
    for (const topic of ["silent", "a", "b"]) mq.emit(message(topic), () => done.push(topic));
    expect([done, mq.current]).toEqual([["a", "b"], 1]);
  });
});

describe("what throws", () => {
  it("is told, counts as done, and stops nobody else", () => {
    const told: unknown[] = [];
    const mq = emitter({ error: (error) => told.push(error) });
    const heard: string[] = [];
    mq.on("a", () => {
      throw "before it answered";
    });
    mq.on("a", (_message, done) => {
      done();
      throw "after it answered";
    });
    mq.on("a", ({ topic }, done) => {
      heard.push(topic);
      done();
    });
    let calls = 0;
    mq.emit(message("a"), () => {
      calls += 1;
      throw "in the callback";
    });
    mq.emit(message("a"));
    expect([heard, calls, mq.current]).toEqual([["a", "a"], 1, 0]);
    expect(told).toEqual([
      "before it answered",
      "after it answered",
      "in the callback",
      "before it answered",
      "after it answered",
    ]);
  });

  it("ends nothing when nobody can be told", () => {
    const mq = emitter({
      error() {
        throw new Error("no");
      },
    });
    mq.on("a", () => {
      throw new Error("no");
    });
    let calls = 0;
    for (let index = 0; index < 3; index += 1) mq.emit(message("a"), () => (calls += 1));
    expect([calls, mq.current]).toEqual([3, 0]);
  });

  it("is a warning of the process when nothing else is said", () => {
    const warn = vi.spyOn(process, "emitWarning").mockReturnValue();
    const mq = emitter();
    mq.on("a", () => {
      throw new Error("what the listener said");
    });
    mq.emit(message("a"));
    expect(warn.mock.calls).toEqual([[new Error("what the listener said")]]);
    warn.mockRestore();
  });
});

describe("listeners", () => {
  it("leave at once, and are told so later", async () => {
    const mq = emitter();
    const { topics } = holding(mq, "kept");
    const told: string[] = [];
    const leaving: Notify = ({ topic }) => topics.push(`left ${topic}`);
    mq.on("a/+", leaving, () => told.push("on"));
    mq.removeListener("a/+", leaving, () => told.push("off"));
    mq.on("all", leaving);
    mq.on("all", atOnce);
    mq.removeAllListeners("all", () => told.push("all off"));
    for (const topic of ["a/b", "all", "kept"]) mq.emit(message(topic));
    expect([topics, told]).toEqual([["kept"], []]);
    await soon();
    expect(told).toEqual(["on", "off", "all off"]);
  });

  it("listen once to a filter however often they are added, and to each of their filters", () => {
    const mq = emitter();
    let calls = 0;
    const notify: Notify = (_message, done) => {
      calls += 1;
      done();
    };
    mq.on("a", notify).on("a", notify).on("+", notify).emit(message("a"));
    expect(calls).toBe(2);
    mq.removeListener("a", notify).emit(message("a"));
    expect(calls).toBe(3);
  });

  it("may leave and come while a message is handed out", () => {
    const mq = emitter();
    const heard: string[] = [];
    const late: Notify = (_message, done) => {
      heard.push("late");
      done();
    };
    const once: Notify = (_message, done) => {
      heard.push("once");
      mq.removeListener("a", once).on("a", late);
      done();
    };
    mq.on("a", once);
    mq.on("a", (_message, done) => {
      heard.push("other");
      done();
    });
    mq.emit(message("a")).emit(message("a"));
    expect(heard).toEqual(["once", "other", "other", "late"]);
  });

  it.each([
    ["a filter", ["", atOnce]],
    ["a filter that is text", [undefined, atOnce]],
    ["a function", ["a", undefined]],
  ])("need %s", (_what, [filter, notify]) => {
    const mq = emitter();
    expect(() => mq.on(filter as string, notify as Notify)).toThrow(TypeError);
    expect(() => mq.removeListener(filter as string, notify as Notify)).toThrow(TypeError);
  });
});

describe("nothing recurses", () => {
  it("with 1,000,000 messages that nobody listens to", () => {
    const mq = emitter();
    let calls = 0;
    for (let index = 0; index < 1_000_000; index += 1) mq.emit(message("nobody"), () => (calls += 1));
    expect([calls, mq.current, mq.length]).toEqual([1_000_000, 0, 0]);
  });

  it("with 100,000 messages that wait and that nobody listens to", async () => {
    const mq = emitter({ concurrency: 1 });
    const { done } = holding(mq, "a");
    mq.emit(message("a"));
    let calls = 0;
    const last = new Promise<void>((resolve) => {
      for (let index = 0; index < 100_000; index += 1) {
        mq.emit(message("nobody"), () => {
          calls += 1;
          if (calls === 100_000) resolve();
        });
      }
    });
    expect([mq.current, mq.length]).toEqual([1, 100_000]);
    done[0]!();
    await last;
    await soon();
    expect([calls, mq.current, mq.length]).toEqual([100_000, 0, 0]);
  });

  const deep = 100_000;
  it.each<[string, (mq: Emitter, count: () => boolean) => void]>([
    [
      "a listener that emits before it is done",
      (mq, count) => {
        mq.on("a", ({ topic }, done) => {
          if (count()) mq.emit(message(topic));
          done();
        });
        mq.emit(message("a"));
      },
    ],
    [
      "a listener that is done when what it emits is done",
      (mq, count) => {
        mq.on("a", ({ topic }, done) => {
          if (count()) mq.emit(message(topic), done);
          else done();
        });
        mq.emit(message("a"));
      },
    ],
    [
      "a callback that emits",
      (mq, count) => {
        mq.on("a", atOnce);
        const again = (): void => void (count() && mq.emit(message("a"), again));
        again();
      },
    ],
    [
      "a callback that emits to nobody",
      (mq, count) => {
        const again = (): void => void (count() && mq.emit(message("a"), again));
        again();
      },
    ],
    [
      "a callback that emits and is told that it is closed",
      (mq, count) => {
        mq.close();
        const again = (): void => void (count() && mq.emit(message("a"), again));
        again();
      },
    ],
    [
      "callbacks that answer for the next message",
      (mq, count) => {
        const { done } = holding(mq, "a");
        let next = 0;
        const answer = (): void => void (count() && done[next++]!());
        for (let index = 0; index < deep; index += 1) mq.emit(message("a"), answer);
        answer();
      },
    ],
  ])("with %s, 100,000 deep", async (_what, start) => {
    const mq = emitter();
    let left = deep;
    await new Promise<void>((resolve) => {
      start(mq, () => {
        left -= 1;
        if (left === 0) resolve();
        return left > 0;
      });
    });
    await soon();
    expect([left, mq.length]).toEqual([0, 0]);
  });
});

describe("a limit of messages at one time", () => {
  it("lets the next go when one is done", () => {
    const mq = emitter({ concurrency: 2 });
    const { topics, done } = holding(mq, "+");
    const called: string[] = [];
    for (const topic of ["a", "b", "c", "d"]) mq.emit(message(topic), () => called.push(topic));
    expect([mq.concurrency, mq.current, mq.length, topics]).toEqual([2, 2, 2, ["a", "b"]]);
    done[1]!();
    expect([mq.current, mq.length, topics, called]).toEqual([2, 1, ["a", "b", "c"], ["b"]]);
    for (const index of [0, 2, 3]) done[index]!();
    expect([mq.current, mq.length, topics, called]).toEqual([0, 0, ["a", "b", "c", "d"], ["b", "a", "c", "d"]]);
  });

  it("serves publishers in turn, each in its order", () => {
    const mq = emitter({ concurrency: 1 });
    const { topics, done } = holding(mq, "#");
    for (let index = 0; index < 100; index += 1) mq.emit(message(`flood/${index}`, "flood"));
    for (let index = 0; index < 2; index += 1) mq.emit(message(`calm/${index}`, "calm"));
    mq.emit(message("broker"));
    for (let index = 0; index < 103; index += 1) done[index]!();
    expect(topics.slice(0, 7)).toEqual(["flood/0", "flood/1", "calm/0", "broker", "flood/2", "calm/1", "flood/3"]);
    expect(topics.filter((topic) => topic.startsWith("flood"))).toEqual(
      Array.from({ length: 100 }, (_none, index) => `flood/${index}`),
    );
  });

  it("is none by default", () => {
    const mq = emitter();
    const { topics } = holding(mq, "a");
    for (let index = 0; index < 5000; index += 1) mq.emit(message("a"));
    expect([mq.concurrency, mq.current, mq.length, topics.length]).toEqual([0, 5000, 0, 5000]);
  });
});

it("keeps the order of a publisher when its messages come from within callbacks and from outside", async () => {
  const mq = emitter();
  const { topics, done } = holding(mq, "#");
  const emit = (number: number, callback?: () => void): void => void mq.emit(message(String(number), "one"), callback);
  emit(0, () => {
    for (let number = 1; number <= 2500; number += 1) emit(number);
  });
  done[0]!();
  // the rest has its turn later, and what comes meanwhile does not overtake it
  emit(2501);
  while (topics.length < 2502) await soon();
  expect(topics).toEqual(Array.from({ length: 2502 }, (_none, number) => String(number)));
});

it("leaves other work its turn while a listener keeps emitting", async () => {
  const mq = emitter();
  const most = 1_000_000;
  let calls = 0;
  mq.on("a", ({ topic }, done) => {
    calls += 1;
    if (calls < most) mq.emit(message(topic));
    done();
  });
  mq.emit(message("a"));
  await soon();
  expect([mq.length, calls < most]).toEqual([1, true]);
  calls = most;
  while (mq.length > 0) await soon();
  expect(mq.current).toBe(0);
});

it("hands out after its close what was emitted before, and nothing else", () => {
  const mq = emitter({ concurrency: 1 });
  const { topics, done } = holding(mq, "+");
  const called: unknown[] = [];
  for (const topic of ["a", "b"]) mq.emit(message(topic), (error) => called.push(error));
  mq.close();
  mq.emit(message("c"), (error) => called.push(error?.message)).emit(message("d"));
  done[0]!();
  done[1]!();
  expect([topics, called, mq.closed]).toEqual([["a", "b"], ["emitter is closed", undefined, undefined], true]);
});

it("takes no message without a topic", () => {
  const mq = emitter();
  expect(() => mq.emit({} as Message)).toThrow(TypeError);
  expect([mq.current, mq.length]).toEqual([0, 0]);
});

it("ends with 100,000 listeners of one filter that leave at once", async () => {
  const mq = emitter();
  const listeners = Array.from({ length: 100_000 }, (): Notify => (_message, done) => done());
  for (const notify of listeners) mq.on("a", notify);
  let calls = 0;
  mq.emit(message("a"), () => (calls += 1));
  const told = new Promise<void>((resolve) => {
    for (const notify of listeners) mq.removeListener("a", notify, notify === listeners.at(-1) ? resolve : undefined);
  });
  await told;
  expect(calls).toBe(1);
});
