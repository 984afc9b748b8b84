/** What commands print, and durations as people type them. */
import { describe, expect, it } from "vitest";
import { chooseReportTopic } from "../../cli/agent-run.ts";
import { formatDuration, parseDuration } from "../../cli/duration.ts";
import { formatFacts, formatTable, formatTime } from "../../cli/output.ts";
import { encodePayload } from "../../cli/payload.ts";
import { parsePermission } from "../../shared/scope.ts";

describe("tables", () => {
  it("stand in columns, without spaces at the ends of lines", () => {
    const rows = [
      { name: "pump", kind: "device" },
      { name: "dashboard", kind: "service" },
    ];
    const columns = { client: (row: (typeof rows)[0]) => row.name, kind: (row: (typeof rows)[0]) => row.kind };
    expect(formatTable(rows, columns, "none").split("\n")).toEqual([
      "client     kind",
      "pump       device",
      "dashboard  service",
    ]);
    expect(formatTable([], columns, "no clients yet")).toBe("no clients yet");
  });

  it("let nobody write to the terminal", () => {
    expect(formatFacts({ name: "a\u001b[31m\nb" })).toBe("name  a?[31m?b");
  });
});

describe("durations", () => {
  it.each([
    ["90s", 90],
    ["30m", 1_800],
    ["1h", 3_600],
    ["7d", 604_800],
  ])("%s is %i seconds and back", (text, seconds) => {
    expect(parseDuration(text)).toBe(seconds);
    expect(parseDuration(formatDuration(seconds))).toBe(seconds);
  });
  it.each(["", "0s", "5", "-5s", "1.5h", "1 h", "1w", "5S", "9999999999s"])("refuses %j", (text) => {
    expect(() => parseDuration(text)).toThrow("A duration is");
  });
});

it("prints times in UTC", () => {
  expect(formatTime(1_790_000_000)).toBe("2026-09-21 14:13:20 UTC");
});

describe("payloads in JSON", () => {
  it.each([
    [Buffer.from("grün"), { payload: "grün" }],
    [Buffer.of(0xff, 0x00), { payload: "/wA=", encoding: "base64" }],
    [Buffer.of(), { payload: "" }],
  ])("%s", (payload, expected) => {
    expect(encodePayload(payload)).toEqual(expected);
  });
});

describe("where an agent reports when no topic is named", () => {
  it.each([
    [["pub:acme/pump/state", "pub:acme/pump/machine"], "acme/pump/machine"],
    [["sub:acme/pump/machine", "pub:acme/pump/#"], "acme/pump/machine"],
    [["pub:acme/+/#", "pub:acme/pump/+"], "acme/pump/machine"],
    [["pub:#"], "machine"],
    [["pub:acme/pump/state"], "acme/pump/state"],
    [["pub:acme/+/state"], undefined],
    [["sub:acme/#"], undefined],
    [[], undefined],
  ])("%j: %s", (permissions, topic) => {
    expect(chooseReportTopic(permissions.map(parsePermission))).toBe(topic);
  });
});
