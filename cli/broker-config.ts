/**
 * The settings of `postern broker`: those of `postern up` as far as a broker has them, by the same rules, and how old its
 * view of the authority may be.
 */
import { z } from "zod";
import type { PosternLimits } from "../broker/limits.ts";
import {
  brokerPorts,
  commonFields,
  commonVariables,
  limitFields,
  readConfigFile,
  readEnvironment,
  readLimits,
  toLimitName,
  type UpFlags,
} from "./config.ts";
import { parseDuration } from "./duration.ts";
import { failUsage } from "./failure.ts";

/** Seconds, from `90s`, `30m`, `24h` or `7d`. */
const duration = z.string().transform((text, context): number => {
  try {
    return parseDuration(text);
  } catch {
    context.addIssue({ code: "custom", message: "is no duration, for example 90s, 30m, 24h or 7d" });
    return z.NEVER;
  }
});

/** What only an authority has a use for. */
const ofAuthorities = [
  "httpBodyBytes",
  "tokensPerMinute",
  "clientFailuresPerMinute",
  "addressFailuresPerMinute",
] as const;
const notOfBrokers: ReadonlySet<string> = new Set(ofAuthorities.map(toLimitName));
const ofBrokers = Object.fromEntries(Object.entries(limitFields()).filter(([name]) => !notOfBrokers.has(name)));

const fileSchema = z.strictObject({
  ...commonFields,
  ports: z.strictObject(brokerPorts).optional(),
  max_staleness: duration.optional(),
  limits: z.strictObject(ofBrokers).optional(),
});

const environmentSchema = z.object({
  ...commonVariables,
  POSTERN_MAX_STALENESS: duration.optional(),
  POSTERN_TICKET: z.string().optional(),
});

/** What the command line said. */
export interface BrokerFlags extends Omit<UpFlags, "httpPort"> {
  readonly ticket?: string;
  /** Seconds. */
  readonly maxStaleness?: number;
}

/** What `postern broker` runs with. */
export interface BrokerSettings {
  readonly dataDir: string;
  readonly ticket: string | undefined;
  readonly host: string | undefined;
  readonly bind: string | undefined;
  readonly mqttsPort: number;
  readonly wssPort: number;
  readonly mqttPort: number | null;
  readonly mqttBind: string | undefined;
  readonly maxStalenessSeconds: number;
  readonly logLevel: string;
  /** Those that are set. */
  readonly limits: Partial<PosternLimits>;
}

const defaultStalenessSeconds = 86_400;

/** Puts the settings together. Fails, naming the setting, when one is not valid or no data folder is named. */
export function readBrokerSettings(flags: BrokerFlags, environment: NodeJS.ProcessEnv = process.env): BrokerSettings {
  const file = readConfigFile(flags.config, fileSchema);
  const env = readEnvironment(environment, environmentSchema);
  return {
    // not where `postern up` keeps its own unless told otherwise
    dataDir: flags.data ?? env.POSTERN_DATA ?? file.data ?? failUsage("give --data, a folder of the broker's own"),
    ticket: flags.ticket ?? env.POSTERN_TICKET,
    host: flags.host ?? env.POSTERN_HOST ?? file.host,
    bind: flags.bind ?? env.POSTERN_BIND ?? file.bind,
    mqttsPort: flags.mqttsPort ?? env.POSTERN_MQTTS_PORT ?? file.ports?.mqtts ?? 8883,
    wssPort: flags.wssPort ?? env.POSTERN_WSS_PORT ?? file.ports?.wss ?? 8884,
    mqttPort: flags.mqttPort ?? env.POSTERN_MQTT_PORT ?? file.ports?.mqtt ?? null,
    mqttBind: flags.mqttBind ?? env.POSTERN_MQTT_BIND ?? file.mqtt_bind,
    maxStalenessSeconds:
      flags.maxStaleness ?? env.POSTERN_MAX_STALENESS ?? file.max_staleness ?? defaultStalenessSeconds,
    logLevel: flags.logLevel ?? env.POSTERN_LOG_LEVEL ?? file.log_level ?? "info",
    limits: readLimits(file.limits ?? {}),
  };
}
