/** The queue of mails: its bounds, its turns and its end. */
import { EventEmitter, once } from "node:events";
import { pino } from "pino";
import { describe, expect, it, vi } from "vitest";
import { defaultMailLimits } from "../../broker/authority/accounts/mail.ts";
import { openMailQueue, type MailLimits } from "../../broker/authority/accounts/mail-queue.ts";
import { local, mail, messageId, openMailer, openServer } from "./mail-fixture.ts";

describe("the queue", () => {
  /** A server that takes a recipient when it is told to. */
  async function openHolding() {
    const held: Array<() => void> = [];
    const came = new EventEmitter();
    const server = await openServer({
      onRcptTo(_address, _session, done) {
        held.push(() => done());
        came.emit("held");
      },
    });
    return {
      ...server,
      held,
      untilHeld: async (count: number): Promise<void> => {
        while (held.length < count) await once(came, "held");
      },
    };
  }

  it("holds so many, a few of them at the server, and says once that it drops the others", async () => {
    const { port, arrived, held, untilHeld } = await openHolding();
    const { mailer, until, lines } = openMailer(local(port), { waiting: 4, atOnce: 2 });
    for (let n = 0; n < 7; n++) mailer.send({ ...mail, to: `ada${n}@example.com` });
    await untilHeld(2);
    expect(lines).toEqual([{ level: 50, waiting: 4, msg: "mails are dropped" }]);
    for (let n = 0; n < 4; n++) {
      await untilHeld(1);
      held.shift()!();
    }
    await until("mail sent", 4);
    expect(new Set(arrived.map(({ recipients }) => recipients[0]))).toEqual(
      new Set([0, 1, 2, 3].map((n) => `ada${n}@example.com`)),
    );
    expect(lines.filter(({ msg }) => msg === "mails were dropped")).toEqual([
      { level: 50, dropped: 3, msg: "mails were dropped" },
    ]);
    mailer.send({ ...mail, to: "ada7@example.com" });
    await untilHeld(1);
    held.shift()!();
    await until("mail sent", 5);
  });

  it("is closed after what is under way, and gives the rest up", async () => {
    const { port, arrived, held, untilHeld } = await openHolding();
    const { mailer, lines } = openMailer(local(port), { atOnce: 1 });
    for (let n = 0; n < 3; n++) mailer.send(mail);
    await untilHeld(1);
    const closing = mailer.close();
    held.shift()!();
    await closing;
    expect(arrived).toHaveLength(1);
    expect(lines).toEqual([
      { level: 50, mails: 2, msg: "mails given up" },
      { level: 30, messageId, tries: 1, msg: "mail sent" },
    ]);
    mailer.send(mail);
    expect(lines.at(-1)).toEqual({ level: 50, messageId, msg: "mail given up" });
  });

  it("is closed in time when the server does not answer", async () => {
    const { port, arrived, held, untilHeld } = await openHolding();
    const { mailer, lines } = openMailer(local(port), { closeMilliseconds: 1 });
    mailer.send(mail);
    await untilHeld(1);
    await mailer.close();
    expect(lines).toMatchObject([{ tries: 1, code: "EABORT", msg: "mail given up" }]);
    expect(arrived).toEqual([]);
    held.shift()!();
  });

  it("is closed while a mail waits to be tried again, which it then is not", async () => {
    const { port } = await openServer({
      onRcptTo: (_a, _s, done) => done(Object.assign(new Error("later"), { responseCode: 450 })),
    });
    const { mailer, until, lines } = openMailer(local(port), { pausesMilliseconds: [3_600_000] });
    mailer.send(mail);
    await until("mail not sent");
    await mailer.close();
    expect(lines.slice(1)).toEqual([{ level: 50, mails: 1, msg: "mails given up" }]);
  });
});

describe("the queue by itself", () => {
  const limits: MailLimits = { ...defaultMailLimits, pausesMilliseconds: [3_600_000] };
  const silent = pino({ level: "silent" });

  it("ends a try that takes too long", async () => {
    const ended = new EventEmitter();
    const queue = openMailQueue(
      async (_mail, _id, signal) => {
        await once(signal, "abort");
        ended.emit("end", signal.reason);
        return { isSent: false, isFinal: true, facts: {} };
      },
      { ...limits, tryMilliseconds: 1 },
      silent,
    );
    queue.add(mail, "<1@example.org>");
    expect(await once(ended, "end")).toMatchObject([{ name: "TimeoutError" }]);
    await queue.close();
  });

  it("leaves no timer behind when it is closed", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    try {
      const queue = openMailQueue(() => Promise.resolve({ isSent: false, isFinal: false, facts: {} }), limits, silent);
      queue.add(mail, "<1@example.org>");
      await vi.waitUntil(() => vi.getTimerCount() === 1);
      await queue.close();
      expect(vi.getTimerCount()).toBe(0);
    } finally {
      vi.useRealTimers();
    }
  });
});
