/**
 * `postern up`: authority and broker in this process. Says one line on stdout when it is ready; logs go to stderr;
 * SIGTERM or SIGINT ends it cleanly, a second one at once.
 */
import { Option, type Command } from "commander";
import { contextOf } from "./context.ts";
import { parseHost, parsePort } from "./duration.ts";
import type { UpFlags } from "./config.ts";
import { untilSignalled } from "./until-signalled.ts";

/** Adds the options and the action; this noun has no verbs. */
export function define(noun: Command): void {
  noun
    .option("--config <file>", "settings in TOML")
    .option("--host <name>", "host name that clients reach this by (default localhost)", parseHost)
    .option("--bind <address>", "address to listen on (default all)")
    .option("--http-port <n>", "authority (default 8443)", parsePort)
    .option("--mqtts-port <n>", "MQTT over TLS (default 8883)", parsePort)
    .option("--wss-port <n>", "MQTT over WebSocket and TLS (default 8884)", parsePort)
    .option("--mqtt-port <n>", "plain MQTT, on loopback (default off)", parsePort)
    .option("--mqtt-bind <address>", "address for plain MQTT (default loopback)")
    .addOption(
      new Option("--log-level <level>", "what is logged on stderr (default info)").choices([
        "fatal",
        "error",
        "warn",
        "info",
        "debug",
        "trace",
        "silent",
      ]),
    )
    .action(async (flags: UpFlags, command: Command) => {
      const { output, options } = contextOf(command);
      const [{ readUpSettings }, { pino }, { startPostern }] = await Promise.all([
        import("./config.ts"),
        import("pino"),
        import("../broker/up.ts"),
      ]);
      const settings = readUpSettings({ ...flags, ...(options.data !== undefined && { data: options.data }) });
      const log = pino({ level: settings.logLevel }, pino.destination({ fd: 2, sync: true }));
      const signalled = untilSignalled();
      const { dataDir, host, bind, httpPort, mqttsPort, wssPort, mqttPort, mqttBind, accounts, limits } = settings;
      const postern = await startPostern({
        dataDir,
        httpPort,
        mqttsPort,
        wssPort,
        mqttPort,
        accounts,
        limits,
        log,
        ...(host !== undefined && { host }),
        ...(bind !== undefined && { bind }),
        ...(mqttBind !== undefined && { mqttHost: mqttBind }),
      });
      const { issuer, mqtts, wss, mqtt, caFile: ca, adminKeyFile: adminKey } = postern;
      output.print({ event: "ready", issuer, mqtts, wss, mqtt, ca, adminKey }, () => {
        const brokers = [mqtts, wss, ...(mqtt === null ? [] : [mqtt])].join(", ");
        return `postern is ready: authority ${issuer}, broker ${brokers}, trust ${ca}, admin key in ${adminKey}`;
      });
      const signal = await signalled;
      log.info({ signal }, "closing");
      await postern.close();
    });
}
