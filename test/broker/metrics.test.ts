/** What is counted, and what the text says of it. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { register } from "prom-client";
import { openMetrics, type Metrics } from "../../broker/metrics.ts";
import type { Drop } from "../../broker/mqtt/meter.ts";
import { readNames, readSeries } from "./scrape.ts";

let metrics: Metrics;
beforeEach(() => {
  metrics = openMetrics();
});
afterEach(() => metrics.close());

const series = async (): Promise<Map<string, number>> => readSeries((await metrics.scrape()).text);

it("starts with every series of a short list at 0, and no refusal", async () => {
  const at = await series();
  const expected = [
    "postern_connections_accepted_total",
    "postern_sessions_ended_total",
    "postern_sessions",
    "postern_stored_sessions",
    "postern_queued_messages",
    "postern_queued_bytes",
    "postern_retained_topics",
    "postern_revoked_tokens",
    "postern_revoked_certificates",
    ...["token", "roles", "anonymous"].map((kind) => `postern_sessions_opened_total{kind="${kind}"}`),
    ...["0", "1", "2"].map((qos) => `postern_messages_received_total{qos="${qos}"}`),
    ...["0", "1", "2"].map((qos) => `postern_messages_sent_total{qos="${qos}"}`),
    'postern_messages_dropped_total{reason="slow-reader"}',
    'postern_messages_dropped_total{reason="queue-age"}',
    "postern_store_commit_seconds_count",
  ];
  expect(Object.fromEntries(expected.map((name) => [name, at.get(name)]))).toEqual(
    Object.fromEntries(expected.map((name) => [name, 0])),
  );
  expect([...at.keys()].filter((name) => name.startsWith("postern_refusals_total"))).toEqual([]);
});

describe("counts", () => {
  it.each<[series: string, count: () => void]>([
    ["postern_connections_accepted_total", () => metrics.meter.accepted()],
    ["postern_sessions_ended_total", () => metrics.meter.ended()],
    ['postern_sessions_opened_total{kind="token"}', () => metrics.meter.admitted("token")],
    ['postern_sessions_opened_total{kind="roles"}', () => metrics.meter.admitted("roles")],
    ['postern_sessions_opened_total{kind="anonymous"}', () => metrics.meter.admitted("anonymous")],
    ['postern_messages_received_total{qos="1"}', () => metrics.meter.received(1)],
    ['postern_trust_contacts_total{outcome="refused"}', () => metrics.contacted("refused")],
    ['postern_messages_sent_total{qos="2"}', () => metrics.meter.sent(2)],
    ...(["slow-reader", "waiting-full", "queue-messages", "store-bytes", "retained-of-client"] as Drop[]).map(
      (why): [string, () => void] => [
        `postern_messages_dropped_total{reason="${why}"}`,
        () => metrics.meter.dropped(why),
      ],
    ),
    ['postern_sessions_taken_back_total{reason="token.revoked"}', () => metrics.meter.takenBack("token.revoked")],
    [
      'postern_refusals_total{at="publish",reason="publish.topic"}',
      () => metrics.meter.refused("publish", "publish.topic"),
    ],
    [
      'postern_refusals_total{at="authz-info",reason="token.expired"}',
      () => metrics.meter.refused("authz-info", "token.expired"),
    ],
  ])("%s, and nothing else", async (name, count) => {
    const own = (at: Map<string, number>): [string, number][] =>
      [...at].filter(([key]) => key.startsWith("postern_") && !key.startsWith("postern_event_loop"));
    const before = own(await series());
    for (let i = 0; i < 3; i++) count();
    // asking twice changes nothing
    await series();
    const after = own(await series());
    const changed = after.filter(([key, value]) => (before.find(([other]) => other === key)?.[1] ?? 0) !== value);
    expect(changed).toEqual([[name, 3]]);
  });

  it("commits of the store by how long they took", async () => {
    for (const seconds of [0.0003, 0.0003, 0.2, 60]) metrics.meter.stored(seconds);
    const at = await series();
    const bucket = (le: string): number | undefined => at.get(`postern_store_commit_seconds_bucket{le="${le}"}`);
    expect([bucket("0.0002"), bucket("0.0005"), bucket("0.25"), bucket("+Inf")]).toEqual([0, 2, 3, 4]);
    expect(at.get("postern_store_commit_seconds_sum")).toBeCloseTo(60.2006);
  });
});

it("asks for sizes when it is asked", async () => {
  let live = 5;
  metrics.follow({
    sessions: () => live,
    sizes: () => ({ sessions: 1, queued: 2, queuedBytes: 3, retained: 4 }),
    revoked: () => ({ tokens: 7, certificates: 8 }),
  });
  const read = async (): Promise<unknown[]> => {
    const at = await series();
    const names = [
      "sessions",
      "stored_sessions",
      "queued_messages",
      "queued_bytes",
      "retained_topics",
      "revoked_tokens",
      "revoked_certificates",
    ];
    return names.map((name) => at.get(`postern_${name}`));
  };
  expect(await read()).toEqual([5, 1, 2, 3, 4, 7, 8]);
  live = 6;
  expect(await read()).toEqual([6, 1, 2, 3, 4, 7, 8]);
});

it("says what process it is", async () => {
  const at = await series();
  expect(at.get(`postern_build_info{version="0.1.0",node="${process.version}"}`)).toBe(1);
  for (const name of ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds"]) {
    expect(at.get(name)).toBeGreaterThan(0);
  }
});

it("says how long the event loop was kept, in seconds", async () => {
  const of = async (which: string): Promise<number> =>
    (await series()).get(`postern_event_loop_delay_${which}_seconds`)!;
  // until the monitor has begun, and one sample of a hundred is of a stall, however many there are from before
  while ((await of("p99")) < 0.05) {
    const until = performance.now() + 100;
    while (performance.now() < until);
    await new Promise((resolve) => setTimeout(resolve));
  }
  expect(await of("p50")).toBeGreaterThanOrEqual(0);
  expect(await of("max")).toBeGreaterThan(0.05);
});

it("is a registry of its own: two of them in one process count apart, and the library's is left alone", async () => {
  const other = openMetrics();
  other.meter.accepted();
  other.close();
  expect((await series()).get("postern_connections_accepted_total")).toBe(0);
  expect(register.getMetricsAsArray()).toEqual([]);
});

it("is the text format, with help and a type for each name", async () => {
  const { contentType, text } = await metrics.scrape();
  expect(contentType).toBe("text/plain; version=0.0.4; charset=utf-8");
  expect(text.endsWith("\n")).toBe(true);
  const helped = [...text.matchAll(/^# HELP (\S+) \S/gm)].map(([, name]) => name);
  expect(readNames(text)).toEqual(helped);
});
