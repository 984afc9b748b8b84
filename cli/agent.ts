/**
 * `postern agent`: this device. Enrols it, keeps it connected, and publishes, subscribes and gets tokens as it.
 *
 * `publish` and `subscribe` connect under a client id with a suffix, so that they do not end the session of `run`.
 */
import { Option, type Command } from "commander";
import { randomBytes } from "node:crypto";
import type { Agent } from "../agent/agent.ts";
import { contextOf } from "./context.ts";
import { parseCount, parseDuration, parseQos } from "./duration.ts";
import { printable } from "../agent/failure.ts";
import { mayPublish } from "../shared/scope.ts";
import { formatFacts, formatList, formatTime } from "./output.ts";

interface DirOption {
  readonly dir?: string;
}

interface ApiOption extends DirOption {
  readonly api?: string;
}

interface PublishFlags extends ApiOption {
  readonly qos: 0 | 1 | 2;
  readonly retain?: boolean;
}

interface SubscribeFlags extends ApiOption {
  readonly qos: 0 | 1 | 2;
  readonly count?: number;
}

const maxPayloadBytes = 262_144;

/** Adds the commands of this noun. */
export function define(noun: Command): void {
  withDir(noun.command("enrol"))
    .description("make a key, have it certified with a ticket, and learn where the brokers are")
    .argument("<ticket>", "from postern ticket create; - reads it from stdin")
    .action(async (ticket: string, options: DirOption, command: Command) => {
      const { output } = contextOf(command);
      const [{ enrol }, { readStdin }] = await Promise.all([import("../agent/enrol.ts"), import("./stdin.ts")]);
      const dir = await findDir(options);
      const text = ticket === "-" ? (await readStdin(4096)).toString("utf8") : ticket;
      const enrolment = await enrol(text, dir);
      output.print({ ...enrolment, dir }, () => {
        const apis = formatList(
          enrolment.apis.map(({ name }) => name),
          "none yet",
        );
        return `enrolled as ${enrolment.clientId} in ${dir}, apis: ${apis}`;
      });
    });

  withApi(noun.command("run"))
    .description("stay connected and keep the token renewed; with --report, publish readings of this machine")
    .option(
      "--report [topic]",
      "publish load, memory and temperature as JSON; without a topic, where the token allows it to publish …/machine",
    )
    .option("--every <duration>", "how often it reports", parseDuration, 5)
    .action(
      async (options: ApiOption & { readonly report?: string | true; readonly every: number }, command: Command) => {
        const { runAgent } = await import("./agent-run.ts");
        await runAgent({ ...options, dir: await findDir(options), output: contextOf(command).output });
      },
    );

  withDir(noun.command("status"))
    .description("say what is in the folder, without asking anybody")
    .action(async (options: DirOption, command: Command) => {
      const { output } = contextOf(command);
      const { describeAgent } = await import("./agent-status.ts");
      const status = describeAgent(await findDir(options), Date.now() / 1000);
      output.print(status, () =>
        formatFacts({
          client: status.clientId,
          authority: status.authority,
          broker: status.brokers.mqtts ?? "-",
          apis: formatList(
            status.apis.map(({ name, kind }) => `${name} (${kind})`),
            "none",
          ),
          certificate: `${status.certificate.serial}, until ${formatTime(status.certificate.expiresAt)}`,
          tokens: formatList(
            status.tokens.map(({ audience, expiresAt }) => `${audience} until ${formatTime(expiresAt)}`),
            "none cached",
          ),
          folder: status.dir,
        }),
      );
    });

  withApi(noun.command("publish"))
    .description("publish what comes on stdin; fails when the broker does not acknowledge it")
    .argument("<topic>", "topic name")
    .addOption(new Option("--qos <n>", "quality of service").argParser(parseQos).default(1))
    .option("--retain", "let the broker keep it for later subscribers")
    .action(async (topic: string, options: PublishFlags, command: Command) => {
      const { output } = contextOf(command);
      const { readStdin } = await import("./stdin.ts");
      const [agent, payload] = await Promise.all([openOnce(options, "never"), readStdin(maxPayloadBytes)]);
      const { qos, retain = false } = options;
      try {
        await agent.connect();
        // nothing acknowledges QoS 0: a refusal would come, if at all, after the command has ended
        const allowed = qos === 0 ? await agent.grants() : undefined;
        if (allowed !== undefined && !mayPublish(allowed, topic)) {
          const { toRefusedPublish } = await import("../agent/agent.ts");
          throw toRefusedPublish(topic, agent.clientId, allowed);
        }
        await agent.publish(topic, payload, { qos, retain });
      } finally {
        await agent.close();
      }
      const how = qos === 0 ? "sent" : "published";
      output.print(
        { event: how, topic, bytes: payload.length, qos, retain },
        () => `${how} ${payload.length} bytes to ${topic}`,
      );
    });

  withApi(noun.command("subscribe"))
    .description("print the payload of each message, one a line, until Ctrl-C")
    .argument("<filter>", "topic filter")
    .addOption(new Option("--qos <n>", "quality of service").argParser(parseQos).default(0))
    .option("--count <n>", "end after this many messages", parseCount)
    .action(async (filter: string, options: SubscribeFlags, command: Command) => {
      const { output } = contextOf(command);
      const { encodePayload } = await import("./payload.ts");
      const agent = await openOnce(options, "once-connected");
      let seen = 0;
      const { promise: over, end } = untilEnded();
      try {
        await agent.connect();
        await agent.subscribe(
          filter,
          ({ topic, payload, retain }) => {
            if (options.count !== undefined && ++seen > options.count) return;
            if (output.json) output.print({ topic, ...encodePayload(payload), retain }, () => "");
            else process.stdout.write(Buffer.concat([payload, newline]));
            if (seen === options.count) end();
          },
          options.qos,
        );
        process.stderr.write(`subscribed to ${printable(filter)}\n`);
        await over;
      } finally {
        await agent.close();
      }
    });

  withApi(noun.command("token"))
    .description("print a token of this agent, from its cache or the authority")
    .action(async (options: ApiOption, command: Command) => {
      const { output } = contextOf(command);
      const { openRefreshedAgent } = await import("../agent/agent.ts");
      const agent = await openRefreshedAgent({
        dir: await findDir(options),
        ...(options.api !== undefined && { api: options.api }),
      });
      const { text, expiresInSeconds } = await agent.token();
      const { clientId, api } = agent;
      output.print({ token: text, expiresIn: expiresInSeconds, clientId, audience: api.audience }, () => text);
    });
}

const newline = Buffer.from("\n");

function withDir(command: Command): Command {
  return command.option(
    "--dir <dir>",
    "the agent's folder (default /var/lib/postern-agent as root, else in your data folder)",
  );
}

function withApi(command: Command): Command {
  return withDir(command).option("--api <name>", "the api, when the agent has several");
}

async function findDir({ dir }: DirOption): Promise<string> {
  return dir ?? (await import("../agent/state.ts")).defaultAgentDir();
}

async function openOnce(options: ApiOption, retry: "never" | "once-connected"): Promise<Agent> {
  const { openRefreshedAgent } = await import("../agent/agent.ts");
  return openRefreshedAgent({
    dir: await findDir(options),
    suffix: `cli-${randomBytes(4).toString("hex")}`,
    retry,
    ...(options.api !== undefined && { api: options.api }),
  });
}

/** Resolves on SIGTERM, on SIGINT, or when told. */
function untilEnded(): { readonly promise: Promise<void>; readonly end: () => void } {
  const stop = new AbortController();
  const end = (): void => stop.abort();
  const promise = new Promise<void>((resolve) => {
    stop.signal.addEventListener("abort", () => {
      process.off("SIGTERM", end);
      process.off("SIGINT", end);
      resolve();
    });
  });
  process.on("SIGTERM", end);
  process.on("SIGINT", end);
  return { promise, end };
}
