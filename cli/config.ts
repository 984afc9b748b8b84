/**
 * The settings of `postern up`, and what `postern broker` has in common with them: flags win over the environment (POSTERN_…), which wins over the TOML file, which wins over
 * the defaults. A name that is not known is an error, so that a typing mistake does not leave a port open.
 */
import { readFileSync } from "node:fs";
import { parse } from "smol-toml";
import { z } from "zod";
import { readMailAddress, readSmtpServer, type PosternAccounts } from "../broker/accounts.ts";
import { highestLimits } from "../broker/limits.ts";
import type { PosternLimits } from "../broker/limits.ts";
import { isHost } from "../shared/names.ts";
import { defaultDataDir } from "./context.ts";
import { fail } from "./failure.ts";

const port = z.int().min(0).max(65_535);
const text = z.string().min(1);
const host = text.refine(isHost, "is no host name or address");
const registration = z.enum(["open", "invite", "closed"]);
const smtp = text.superRefine(asRead(readSmtpServer));
const sender = text.superRefine(asRead(readMailAddress));
const level = z.enum(["fatal", "error", "warn", "info", "debug", "trace", "silent"]);

/** What both programs take from their files. */
export const commonFields = {
  data: text.optional(),
  /** Host name that clients reach this by; goes into the certificate and the issuer. */
  host: host.optional(),
  /** Address to listen on; all when left out. */
  bind: text.optional(),
  log_level: level.optional(),
  /** Address for plain MQTT; loopback when left out. */
  mqtt_bind: text.optional(),
};

/** The ports of a broker in a file. */
export const brokerPorts = {
  mqtts: port.optional(),
  wss: port.optional(),
  /** Plain MQTT; off when left out. */
  mqtt: port.optional(),
};

const fileSchema = z.strictObject({
  ...commonFields,
  ports: z.strictObject({ http: port.optional(), ...brokerPorts }).optional(),
  /** Who may register as a developer. */
  registration: registration.optional(),
  /** Where mails go, with the user and the password of this server there, and who they are from. */
  mail: z.strictObject({ smtp: smtp.optional(), from: sender.optional() }).optional(),
  /** The names in {@link PosternLimits} in snake_case, in the same units (docs/operating.md). */
  limits: z.strictObject(limitFields()).optional(),
});

/** What both programs take from the environment. */
export const commonVariables = {
  POSTERN_DATA: text.optional(),
  POSTERN_HOST: host.optional(),
  POSTERN_BIND: text.optional(),
  POSTERN_LOG_LEVEL: level.optional(),
  POSTERN_MQTTS_PORT: z.coerce.number().pipe(port).optional(),
  POSTERN_WSS_PORT: z.coerce.number().pipe(port).optional(),
  POSTERN_MQTT_PORT: z.coerce.number().pipe(port).optional(),
  POSTERN_MQTT_BIND: text.optional(),
};

const environmentSchema = z.object({
  ...commonVariables,
  POSTERN_HTTP_PORT: z.coerce.number().pipe(port).optional(),
  POSTERN_REGISTRATION: registration.optional(),
  POSTERN_SMTP: smtp.optional(),
  POSTERN_MAIL_FROM: sender.optional(),
});

/** What the command line said. */
export interface UpFlags {
  readonly data?: string;
  readonly config?: string;
  readonly host?: string;
  readonly bind?: string;
  readonly httpPort?: number;
  readonly mqttsPort?: number;
  readonly wssPort?: number;
  readonly mqttPort?: number;
  readonly mqttBind?: string;
  readonly logLevel?: string;
}

/** What `postern up` runs with. */
export interface UpSettings {
  readonly dataDir: string;
  readonly host: string | undefined;
  readonly bind: string | undefined;
  readonly httpPort: number;
  readonly mqttsPort: number;
  readonly wssPort: number;
  readonly mqttPort: number | null;
  readonly mqttBind: string | undefined;
  readonly logLevel: string;
  readonly accounts: PosternAccounts;
  /** Those that are set. */
  readonly limits: Partial<PosternLimits>;
}

/** Puts the settings together. Fails, naming the setting, when one is not valid. */
export function readUpSettings(flags: UpFlags, environment: NodeJS.ProcessEnv = process.env): UpSettings {
  const file = readConfigFile(flags.config, fileSchema);
  const env = readEnvironment(environment, environmentSchema);
  return {
    dataDir: flags.data ?? env.POSTERN_DATA ?? file.data ?? defaultDataDir,
    host: flags.host ?? env.POSTERN_HOST ?? file.host,
    bind: flags.bind ?? env.POSTERN_BIND ?? file.bind,
    httpPort: flags.httpPort ?? env.POSTERN_HTTP_PORT ?? file.ports?.http ?? 8443,
    mqttsPort: flags.mqttsPort ?? env.POSTERN_MQTTS_PORT ?? file.ports?.mqtts ?? 8883,
    wssPort: flags.wssPort ?? env.POSTERN_WSS_PORT ?? file.ports?.wss ?? 8884,
    mqttPort: flags.mqttPort ?? env.POSTERN_MQTT_PORT ?? file.ports?.mqtt ?? null,
    mqttBind: flags.mqttBind ?? env.POSTERN_MQTT_BIND ?? file.mqtt_bind,
    logLevel: flags.logLevel ?? env.POSTERN_LOG_LEVEL ?? file.log_level ?? "info",
    accounts: {
      registration: env.POSTERN_REGISTRATION ?? file.registration ?? "invite",
      ...readMail(env.POSTERN_SMTP ?? file.mail?.smtp, env.POSTERN_MAIL_FROM ?? file.mail?.from),
    },
    limits: readLimits(file.limits ?? {}),
  };
}

/** Both or neither: a server alone would look as if mails were sent. */
function readMail(server: string | undefined, from: string | undefined): Pick<PosternAccounts, "mail"> {
  if (server === undefined && from === undefined) return {};
  if (server === undefined) return fail("mail.smtp (POSTERN_SMTP): is needed with mail.from");
  if (from === undefined) return fail("mail.from (POSTERN_MAIL_FROM): is needed with mail.smtp");
  return { mail: { smtp: server, from } };
}

/** A check that says what the reader says, which never repeats what it was given. */
function asRead(read: (text: string) => unknown): (text: string, context: z.RefinementCtx) => void {
  return (given, context) => {
    try {
      read(given);
    } catch (error) {
      context.addIssue({ code: "custom", message: (error as Error).message, input: undefined });
    }
  };
}

/** The name of a limit in the file. */
export function toLimitName(limit: keyof PosternLimits): string {
  return limit.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** A field for each limit, by its name in the file. */
export function limitFields(): Record<string, z.ZodOptional<z.ZodInt>> {
  const names = Object.keys(highestLimits) as (keyof PosternLimits)[];
  return Object.fromEntries(
    names.map((name) => [toLimitName(name), z.int().min(1).max(highestLimits[name]).optional()]),
  );
}

/** Those that are set, by their names in the program. */
export function readLimits(given: Readonly<Record<string, number | undefined>>): Partial<PosternLimits> {
  const names = Object.keys(highestLimits) as (keyof PosternLimits)[];
  const set = names.map((name) => [name, given[toLimitName(name)]] as const);
  return Object.fromEntries(set.filter(([, value]) => value !== undefined));
}

/** The file, as the schema has it. Fails, naming the setting, when one is not valid. */
export function readConfigFile<Schema extends z.ZodType>(
  path: string | undefined,
  schema: Schema,
): Partial<z.infer<Schema>> {
  if (path === undefined) return {};
  let content: string;
  try {
    content = readFileSync(path, "utf8");
  } catch (error) {
    return fail(`${path} cannot be read (${(error as NodeJS.ErrnoException).code ?? "unknown error"})`);
  }
  let value: unknown;
  try {
    value = parse(content);
  } catch (error) {
    return fail(`${path} is not TOML: ${(error as Error).message.split("\n", 1)[0]!}`);
  }
  return check(schema, value, path);
}

/** What the schema names of the environment; a variable that is empty counts as none. */
export function readEnvironment<Schema extends z.ZodType>(
  environment: NodeJS.ProcessEnv,
  schema: Schema,
): z.infer<Schema> {
  const given = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ""));
  return check(schema, given, "environment");
}

function check<Schema extends z.ZodType>(schema: Schema, value: unknown, where: string): z.infer<Schema> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const name = issue.path.length === 0 ? "" : `${issue.path.join(".")}: `;
  return fail(`${where}: ${name}${issue.message}`);
}
