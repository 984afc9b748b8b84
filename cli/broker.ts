/**
 * `postern broker`: a broker elsewhere, which enrols with a ticket and follows its authority; and, as verbs, the brokers that
 * an authority knows. Running, it says one line on stdout when it is ready, logs to stderr, and ends on SIGTERM or SIGINT.
 */
import { Option, type Command } from "commander";
import { route } from "./admin-client.ts";
import type { BrokerFlags } from "./broker-config.ts";
import { contextOf } from "./context.ts";
import { parseDuration, parseHost, parsePort } from "./duration.ts";
import { formatList, formatTable, formatTime } from "./output.ts";
import { untilSignalled } from "./until-signalled.ts";

interface Broker {
  readonly name: string;
  readonly hosts: readonly string[];
  readonly created_at: number;
  readonly certified_until: number | null;
}

/** Adds the options, the action and the verbs. */
export function define(noun: Command): void {
  noun
    .option(
      "--ticket <ticket>",
      "enrols it the first time (POSTERN_TICKET, which other users of this machine do not see)",
    )
    .option("--config <file>", "settings in TOML")
    .option(
      "--host <name>",
      "host name that clients reach this by (default the first that its certificate is for)",
      parseHost,
    )
    .option("--bind <address>", "address to listen on (default all)")
    .option("--mqtts-port <n>", "MQTT over TLS (default 8883)", parsePort)
    .option("--wss-port <n>", "MQTT over WebSocket and TLS (default 8884)", parsePort)
    .option("--mqtt-port <n>", "plain MQTT, on loopback (default off)", parsePort)
    .option("--mqtt-bind <address>", "address for plain MQTT (default loopback)")
    .option(
      "--max-staleness <duration>",
      "admit nobody new after so long without the authority (default 24h)",
      parseDuration,
    )
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
    .action(runBroker);

  noun
    .command("list")
    .description("list the brokers elsewhere")
    .action(async (_options: object, command: Command) => {
      const { output, withAdmin } = contextOf(command);
      const brokers = await withAdmin((admin) => admin.list<Broker>(route`/v1/brokers`));
      output.print(brokers, () =>
        formatTable(
          brokers,
          {
            broker: ({ name }) => name,
            hosts: ({ hosts }) => formatList(hosts),
            "certified until": ({ certified_until }) => (certified_until === null ? "-" : formatTime(certified_until)),
          },
          "no brokers yet",
        ),
      );
    });

  noun
    .command("delete")
    .description("revoke the certificates of a broker elsewhere; its name stays taken")
    .argument("<broker>", "name")
    .action(async (name: string, _options: object, command: Command) => {
      const { output, withAdmin } = contextOf(command);
      await withAdmin((admin) => admin.delete<unknown>(route`/v1/brokers/${name}`));
      output.print({ name, deleted: true }, () => `deleted broker ${name}`);
    });
}

async function runBroker(flags: BrokerFlags, command: Command): Promise<void> {
  const { output, options } = contextOf(command);
  const [{ readBrokerSettings }, { openBrokerIdentity }, { keepRenewed }, { pino }, { startBroker }] =
    await Promise.all([
      import("./broker-config.ts"),
      import("./broker-identity.ts"),
      import("./keep-renewed.ts"),
      import("pino"),
      import("../broker/standalone.ts"),
    ]);
  const settings = readBrokerSettings({ ...flags, ...(options.data !== undefined && { data: options.data }) });
  const { dataDir, ticket, host, bind, mqttsPort, wssPort, mqttPort, mqttBind, limits, maxStalenessSeconds } = settings;
  const log = pino({ level: settings.logLevel }, pino.destination({ fd: 2, sync: true }));
  const signalled = untilSignalled();
  const identity = await openBrokerIdentity({ dir: dataDir, ticket, host, log });
  const broker = await startBroker({
    dataDir,
    identity,
    host: identity.host,
    mqttsPort,
    wssPort,
    mqttPort,
    limits,
    maxStalenessSeconds,
    log,
    ...(bind !== undefined && { bind }),
    ...(mqttBind !== undefined && { mqttHost: mqttBind }),
  });
  const ending = new AbortController();
  const renewing = keepRenewed(identity, {
    log,
    signal: ending.signal,
    use: () => broker.renewTls(identity.current()),
  });
  const { mqtts, wss, mqtt, caFile: ca } = broker;
  output.print({ event: "ready", mqtts, wss, mqtt, ca }, () => {
    const listeners = [mqtts, wss, ...(mqtt === null ? [] : [mqtt])].join(", ");
    return `postern is ready: broker ${listeners} of authority ${identity.authority}, trust ${ca}`;
  });
  const signal = await signalled;
  log.info({ signal }, "closing");
  ending.abort();
  await renewing;
  await broker.close();
}
