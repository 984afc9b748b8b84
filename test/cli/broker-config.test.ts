/** Settings of `postern broker`: those of `postern up` by the same rules, without what a broker does not have. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { readBrokerSettings } from "../../cli/broker-config.ts";

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "postern-config-"));
});
afterAll(() => rmSync(dir, { recursive: true }));

function fileOf(toml: string): string {
  const path = join(dir, "broker.toml");
  writeFileSync(path, toml);
  return path;
}

it("have defaults, but for the folder", () => {
  expect(readBrokerSettings({ data: "/edge" }, {})).toEqual({
    dataDir: "/edge",
    ticket: undefined,
    host: undefined,
    bind: undefined,
    mqttsPort: 8883,
    wssPort: 8884,
    mqttPort: null,
    mqttBind: undefined,
    maxStalenessSeconds: 86_400,
    logLevel: "info",
    limits: {},
  });
  expect(() => readBrokerSettings({}, {})).toThrow("give --data, a folder of the broker's own");
});

it("come from the flags, else the environment, else the file", () => {
  const file = 'data = "/file"\nmax_staleness = "1h"\nhost = "file.example"\n[ports]\nmqtts = 1\nwss = 2\nmqtt = 3\n';
  const config = fileOf(file);
  const fromFile = { dataDir: "/file", maxStalenessSeconds: 3600, host: "file.example" };
  expect(readBrokerSettings({ config }, {})).toMatchObject({ ...fromFile, mqttsPort: 1, wssPort: 2, mqttPort: 3 });
  const environment = {
    POSTERN_DATA: "/env",
    POSTERN_MAX_STALENESS: "30m",
    POSTERN_HOST: "env.example",
    POSTERN_TICKET: "pt1_env",
    POSTERN_MQTTS_PORT: "11",
  };
  const fromEnvironment = { dataDir: "/env", maxStalenessSeconds: 1800, host: "env.example", ticket: "pt1_env" };
  expect(readBrokerSettings({ config }, environment)).toMatchObject({ ...fromEnvironment, mqttsPort: 11, wssPort: 2 });
  const flags = { config, data: "/flag", maxStaleness: 60, host: "flag.example", ticket: "pt1_flag", mqttsPort: 0 };
  expect(readBrokerSettings(flags, environment)).toMatchObject({
    dataDir: "/flag",
    maxStalenessSeconds: 60,
    host: "flag.example",
    ticket: "pt1_flag",
    mqttsPort: 0,
  });
});

it("take an empty variable for none", () => {
  const environment = { POSTERN_TICKET: "", POSTERN_MAX_STALENESS: "" };
  expect(readBrokerSettings({ data: "/edge" }, environment)).toMatchObject({
    ticket: undefined,
    maxStalenessSeconds: 86_400,
  });
});

it("take the limits of brokers", () => {
  const config = fileOf('data = "/edge"\n[limits]\npacket_bytes = 65_536\n');
  expect(readBrokerSettings({ config }, {}).limits).toEqual({ packetBytes: 65_536 });
});

it.each([
  ["max_staleness = 24", "max_staleness: "],
  ['max_staleness = "24"', "max_staleness: is no duration, for example 90s, 30m, 24h or 7d"],
  ['max_staleness = "0h"', "max_staleness: is no duration"],
  ["[ports]\nhttp = 1", "ports: Unrecognized key"],
  ["[limits]\nhttp_body_bytes = 1000", "limits: Unrecognized key"],
  ["[limits]\ntokens_per_minute = 1000", "limits: Unrecognized key"],
  ["[limits]\nclient_failures_per_minute = 1000", "limits: Unrecognized key"],
  ["[limits]\naddress_failures_per_minute = 1000", "limits: Unrecognized key"],
  ['ticket = "pt1_x"', "Unrecognized key"],
  ['max_stale = "1h"', "Unrecognized key"],
])("refuse %j, naming it", (toml, why) => {
  expect(() => readBrokerSettings({ data: "/edge", config: fileOf(toml) }, {})).toThrow(why);
});

it("refuse a variable that is not valid, naming it", () => {
  expect(() => readBrokerSettings({ data: "/edge" }, { POSTERN_MAX_STALENESS: "soon" })).toThrow(
    "environment: POSTERN_MAX_STALENESS: is no duration",
  );
});
