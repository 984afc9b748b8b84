/** Lines of refusals: one each, until there are too many; and all of them counted. */
import type { IPublishPacket } from "mqtt-packet";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { defaultLimits } from "../../broker/gate/limits.ts";
import { noGateMeter } from "../../broker/gate/meter.ts";
import { openReporter } from "../../broker/gate/report.ts";
import type { Reporter } from "../../broker/gate/report.ts";
import { Refusal } from "../../shared/refusal.ts";
import type { Reason } from "../../shared/refusal.ts";
import { openFixture } from "./fixture.ts";
import type { Fixture } from "./fixture.ts";

interface Line {
  readonly level: number;
  readonly msg: string;
  readonly reason?: string;
  readonly id?: string;
  readonly address?: string;
  readonly suppressed?: number;
}

const limits = { ...defaultLimits, refusalLines: 100, refusalLinesPerAddress: 10 };
const lines: Line[] = [];
const counted: string[] = [];
let reporter: Reporter;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  lines.length = counted.length = 0;
  const log = pino({ level: "info" }, { write: (line) => lines.push(JSON.parse(line) as Line) });
  const refused = (at: string, reason: Reason): void => void counted.push(`${at} ${reason}`);
  reporter = openReporter(log, { ...noGateMeter, refused }, limits);
});
afterEach(() => {
  reporter.close();
  vi.useRealTimers();
});

/** A client behind a WebSocket, which is where an address is easily put. */
const clientAt = (address: string): object => ({
  id: "c",
  conn: {},
  req: { socket: { remoteAddress: address }, headers: {} },
});
const refuse = (reason: Reason, address: string, isTold = false): Refusal =>
  reporter.report(new Refusal(reason), clientAt(address), "connect", undefined, isTold);
const summaries = (): Line[] => lines.filter(({ suppressed }) => suppressed !== undefined);
const refusals = (): Line[] => lines.filter(({ msg }) => msg === "refused");

describe("a flood of refusals", () => {
  it("of one reason and address is ten lines in a second, and then one with the number of the others", () => {
    for (let i = 0; i < 1000; i++) refuse("token.expired", "10.0.0.1");
    expect([refusals().length, summaries()]).toEqual([10, []]);
    vi.advanceTimersByTime(1000);
    expect(summaries()).toEqual([
      expect.objectContaining({ reason: "token.expired", address: "10.0.0.1", suppressed: 990, level: 40 }),
    ]);
    expect(counted).toEqual(Array.from({ length: 1000 }, () => "connect token.expired"));
  });

  it("leaves other reasons and other addresses their lines", () => {
    for (let i = 0; i < 50; i++) refuse("token.expired", "10.0.0.1");
    refuse("token.expired", "10.0.0.2");
    refuse("proof.signature", "10.0.0.1");
    expect(refusals().slice(10)).toMatchObject([
      { reason: "token.expired", address: "10.0.0.2" },
      { reason: "proof.signature", address: "10.0.0.1" },
    ]);
  });

  it("begins anew with the next second, and says nothing when nothing was left out", () => {
    for (let second = 0; second < 3; second++) {
      for (let i = 0; i < 10; i++) refuse("token.expired", "10.0.0.1");
      vi.advanceTimersByTime(1000);
    }
    expect([refusals().length, summaries()]).toEqual([30, []]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("from ever new addresses is a hundred lines in a second, one number, and no memory of the addresses", () => {
    for (let i = 0; i < 5000; i++) refuse("token.expired", `2001:db8::${i.toString(16)}`);
    expect(refusals()).toHaveLength(100);
    vi.advanceTimersByTime(1000);
    expect(summaries()).toMatchObject([{ msg: "refusals of many suppressed", suppressed: 4900 }]);
    expect(counted).toHaveLength(5000);
  });

  it("leaves out no refusal whose id the peer is told", () => {
    for (let i = 0; i < 300; i++) refuse("publish.topic", "10.0.0.1");
    const ids = Array.from({ length: 300 }, () => refuse("publish.topic", "10.0.0.1", true).id);
    const logged = new Set(lines.map(({ id }) => id));
    expect(ids.filter((id) => !logged.has(id))).toEqual([]);
    vi.advanceTimersByTime(1000);
    expect(summaries()).toMatchObject([{ suppressed: 290 }]);
  });

  it("of faults of ours is bounded as well", () => {
    for (let i = 0; i < 50; i++) reporter.report(new Error("ours"), clientAt("10.0.0.1"), "deliver");
    expect(lines.filter(({ level }) => level === 50)).toHaveLength(10);
    expect(counted).toHaveLength(50);
  });

  it("that the gate's end cuts short has its number in the log", () => {
    for (let i = 0; i < 11; i++) refuse("token.expired", "10.0.0.1");
    reporter.close();
    expect(summaries()).toMatchObject([{ suppressed: 1 }]);
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe("through a gate", () => {
  let f: Fixture;
  beforeAll(async () => {
    f = await openFixture({ refusalLines: 5, refusalLinesPerAddress: 5 });
  });
  afterAll(() => f.close());
  // what is told is counted by the second: the one that is now does not end
  beforeEach(() => {
    vi.useRealTimers();
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() });
  });

  it("a client that asks for many filters it may not have is told of ten, and finds each of those in the log", async () => {
    const wire = await f.enter(f.device(), { allow: ["sub:mine/#"] });
    await wire.subscribe(["$postern/session"]);
    const filters = Array.from({ length: 40 }, (_, i) => `theirs/${i}`);
    expect(await wire.subscribe(filters)).toEqual(filters.map(() => 128));
    await wire.settled();
    const told = wire.all("publish").map((packet) => {
      const news = JSON.parse((packet as IPublishPacket).payload.toString()) as { event: string; id: string };
      expect(news.event).toBe("refused");
      return news.id;
    });
    const logged = new Set(f.log.map(({ id }) => id));
    expect(told.filter((id) => !logged.has(id))).toEqual([]);
    expect(told).toHaveLength(10);
  });
});
