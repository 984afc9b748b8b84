/** Settings of `postern up`: flags over environment over file over defaults, and what is not valid. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { defaultLimits, type PosternLimits } from "../../broker/limits.ts";
import { readUpSettings, toLimitName } from "../../cli/config.ts";

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "postern-config-"));
});
afterAll(() => rmSync(dir, { recursive: true }));

function fileOf(toml: string): string {
  const path = join(dir, "postern.toml");
  writeFileSync(path, toml);
  return path;
}

describe("settings", () => {
  it("have defaults", () => {
    expect(readUpSettings({}, {})).toEqual({
      dataDir: "./postern-data",
      host: undefined,
      bind: undefined,
      httpPort: 8443,
      mqttsPort: 8883,
      wssPort: 8884,
      mqttPort: null,
      mqttBind: undefined,
      logLevel: "info",
      accounts: { registration: "invite" },
      limits: {},
    });
  });

  it("come from the flags, else the environment, else the file", () => {
    const config = fileOf('data = "/file"\nhost = "file.example"\n[ports]\nhttp = 1\nmqtts = 2\nwss = 3\nmqtt = 4\n');
    const environment = { POSTERN_HOST: "env.example", POSTERN_MQTTS_PORT: "22", POSTERN_WSS_PORT: "33" };
    const settings = readUpSettings({ config, wssPort: 333 }, environment);
    expect(settings).toMatchObject({
      dataDir: "/file",
      host: "env.example",
      httpPort: 1,
      mqttsPort: 22,
      wssPort: 333,
      mqttPort: 4,
    });
  });

  it("take port 0 from a flag, which is a value like any other", () => {
    expect(readUpSettings({ httpPort: 0 }, { POSTERN_HTTP_PORT: "5" }).httpPort).toBe(0);
  });

  it("take an empty variable for none", () => {
    expect(readUpSettings({}, { POSTERN_MQTT_PORT: "" }).mqttPort).toBeNull();
  });

  it("take limits from the file, in snake_case and in the same units, and only those that stand there", () => {
    const config = fileOf("[limits]\npacket_bytes = 65_536\nconnect_milliseconds = 5000\nhttp_body_bytes = 8192\n");
    expect(readUpSettings({ config }, {}).limits).toEqual({
      packetBytes: 65_536,
      connectMilliseconds: 5000,
      httpBodyBytes: 8192,
    });
  });

  it.each(Object.keys(defaultLimits) as (keyof PosternLimits)[])(
    "take the default of %s as a value like any other",
    (limit) => {
      const config = fileOf(`[limits]\n${toLimitName(limit)} = ${defaultLimits[limit]}\n`);
      expect(readUpSettings({ config }, {}).limits).toEqual({ [limit]: defaultLimits[limit] });
    },
  );

  it("take who may register and where mails go from the environment, else from the file, each by itself", () => {
    const config = fileOf(
      'registration = "open"\n[mail]\nsmtp = "smtp://u:p@mail.example"\nfrom = "Postern <postern@example.com>"\n',
    );
    const mail = { smtp: "smtp://u:p@mail.example", from: "Postern <postern@example.com>" };
    expect(readUpSettings({ config }, {}).accounts).toEqual({ registration: "open", mail });
    const environment = { POSTERN_REGISTRATION: "closed", POSTERN_SMTP: "smtps://other.example:4650" };
    expect(readUpSettings({ config }, environment).accounts).toEqual({
      registration: "closed",
      mail: { smtp: "smtps://other.example:4650", from: mail.from },
    });
    const all = { POSTERN_SMTP: "smtp://localhost:25", POSTERN_MAIL_FROM: "a@b.example" };
    expect(readUpSettings({}, all).accounts).toEqual({
      registration: "invite",
      mail: { smtp: "smtp://localhost:25", from: "a@b.example" },
    });
  });

  it.each([
    [{ POSTERN_SMTP: "smtp://localhost" }, "mail.from (POSTERN_MAIL_FROM): is needed with mail.smtp"],
    [{ POSTERN_MAIL_FROM: "a@b.example" }, "mail.smtp (POSTERN_SMTP): is needed with mail.from"],
  ])("refuse half of what mails need: %j", (environment, why) => {
    expect(() => readUpSettings({}, environment)).toThrow(why);
  });

  it("never repeat an address that may hold a password", () => {
    for (const smtp of [
      "http://u:hunter2@mail.example",
      "smtp://hunter2@mail.example",
      "smtp://u:hunter2@m.example?x",
    ]) {
      for (const read of [
        () => readUpSettings({}, { POSTERN_SMTP: smtp }),
        () => readUpSettings({ config: fileOf(`[mail]\nsmtp = "${smtp}"\n`) }, {}),
      ]) {
        expect(read).toThrow(/(POSTERN_SMTP|mail\.smtp): (?!.*hunter2)/);
      }
    }
  });

  it.each([
    ["ports = 5", "ports: "],
    ["[ports]\nhttp = 70000", "ports.http: "],
    ['[ports]\nhttp = "8443"', "ports.http: "],
    ["[ports]\nhtpp = 1", "ports: Unrecognized key"],
    ["hots = 'a'", 'Unrecognized key: "hots"'],
    ["log_level = 'loud'", "log_level: "],
    ["registration = 'everybody'", "registration: "],
    ["registration = true", "registration: "],
    ["mail = 'smtp://localhost'", "mail: "],
    ["[mail]\nserver = 'a'", "mail: Unrecognized key"],
    ["[mail]\nsmtp = 'mail.example'\nfrom = 'a@b.example'", "mail.smtp: is no address like smtp://"],
    ["[mail]\nsmtp = 'smtp://m.example?secure=0'\nfrom = 'a@b.example'", "mail.smtp: has something after"],
    ["[mail]\nsmtp = 25\nfrom = 'a@b.example'", "mail.smtp: "],
    ["[mail]\nsmtp = 'smtp://localhost'\nfrom = 'Postern'", "mail.from: is no address like Postern <"],
    ["limits = 5", "limits: "],
    ["[limits]\npacket_byte = 1", "limits: Unrecognized key"],
    ["[limits]\npacketBytes = 1", "limits: Unrecognized key"],
    ["[limits]\npacket_bytes = 0", "limits.packet_bytes: "],
    ["[limits]\npacket_bytes = -5", "limits.packet_bytes: "],
    ["[limits]\npacket_bytes = 1.5", "limits.packet_bytes: "],
    ["[limits]\npacket_bytes = inf", "limits.packet_bytes: "],
    ["[limits]\npacket_bytes = '1'", "limits.packet_bytes: "],
    ["[limits]\npacket_bytes = 1_000_000_000", "limits.packet_bytes: "],
    ["[limits]\ntopic_levels = 33", "limits.topic_levels: "],
    ["[limits]\ntoken_bytes = 4097", "limits.token_bytes: "],
    ["host = ", "is not TOML"],
  ])("refuse a file that says %j", (toml, why) => {
    expect(() => readUpSettings({ config: fileOf(toml) }, {})).toThrow(why);
  });

  it.each([
    { POSTERN_HTTP_PORT: "no" },
    { POSTERN_HTTP_PORT: "1.5" },
    { POSTERN_LOG_LEVEL: "loud" },
    { POSTERN_REGISTRATION: "all" },
    { POSTERN_SMTP: "mail.example" },
    { POSTERN_MAIL_FROM: "a@b.example, c@d.example" },
  ])("refuse the environment %j", (environment) => {
    expect(() => readUpSettings({}, environment)).toThrow(`environment: ${Object.keys(environment)[0]}: `);
  });
});
