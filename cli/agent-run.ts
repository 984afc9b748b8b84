/**
 * `postern agent run`: a line for each thing that happens, until SIGTERM or SIGINT; and, if asked, a reading of this
 * machine at each interval.
 *
 * A reading is published while connected and skipped while not: an old load average is of no use to anybody. A topic the
 * token does not allow is never tried, because a broker ends the session of who tries.
 */
import { openRefreshedAgent, readMachine, type Agent, type AgentFailure } from "../agent/agent.ts";
import { mayPublish, type Grant } from "../shared/scope.ts";
import { fail } from "./failure.ts";
import { formatTime, type Output } from "./output.ts";

/** What `agent run` was asked to do. */
export interface RunOptions {
  readonly dir: string;
  readonly api?: string;
  /** A topic, or true for the one that {@link chooseReportTopic} finds. */
  readonly report?: string | true;
  /** Seconds. */
  readonly every: number;
  readonly output: Output;
}

/** Runs until signalled. */
export async function runAgent(options: RunOptions): Promise<void> {
  const { output } = options;
  const agent = await openRefreshedAgent({
    dir: options.dir,
    ...(options.api !== undefined && { api: options.api }),
  });
  const stop = new AbortController();
  const onSignal = (): void => {
    process.off("SIGTERM", onSignal);
    process.off("SIGINT", onSignal);
    stop.abort();
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  tellEvents(agent, output);
  const over = new Promise<void>((resolve) => stop.signal.addEventListener("abort", () => resolve()));
  let failure: unknown;
  const report = options.report;
  if (report !== undefined) {
    agent.events.once("connected", () => {
      startReports(agent, report, options.every, output, stop).catch((error: unknown) => {
        failure = error;
        stop.abort();
      });
    });
  }
  // closing ends the attempts to connect; what they met is in the events
  agent.connect().catch((error: unknown) => {
    if (stop.signal.aborted) return;
    failure = error;
    stop.abort();
  });
  await over;
  await agent.close();
  if (failure !== undefined) throw failure;
}

/**
 * Where to report when no topic was named: the first topic that may be published and ends with /machine, else `machine`
 * below the first filter that ends with a wildcard, else the first that is a topic name. Undefined when nothing fits.
 */
export function chooseReportTopic(grants: readonly Grant[]): string | undefined {
  const filters = grants.filter(({ pub }) => pub).map(({ filter }) => filter);
  const named = filters.find((filter) => isName(filter) && filter.endsWith("/machine"));
  const opened = filters.map((filter) => filter.replace(/(^|\/)[+#]$/, "$1machine")).find(isName);
  return named ?? opened;
}

function isName(filter: string): boolean {
  return !/[+#]/.test(filter);
}

async function startReports(
  agent: Agent,
  report: string | true,
  everySeconds: number,
  output: Output,
  stop: AbortController,
): Promise<void> {
  const topic = report === true ? chooseReportTopic(await agent.grants()) : report;
  if (topic === undefined) return fail("the token allows no topic to report to; name one with --report");
  if (!mayPublish(await agent.grants(), topic)) return fail(`${agent.clientId} may not publish ${topic}`);
  const publish = async (): Promise<void> => {
    try {
      if (!mayPublish(await agent.grants(), topic)) throw new Error(`${topic} is not allowed any more`);
      await agent.publish(topic, JSON.stringify({ at: new Date().toISOString(), ...(await readMachine()) }), {
        qos: 1,
      });
    } catch (error) {
      output.print(
        { event: "skipped", topic, why: (error as Error).message },
        () => `skipped a reading: ${(error as Error).message}`,
      );
    }
  };
  output.print({ event: "reporting", topic, everySeconds }, () => `reporting to ${topic} every ${everySeconds} s`);
  let isBusy = false;
  const timer = setInterval(() => {
    if (isBusy) return;
    isBusy = true;
    void publish().finally(() => (isBusy = false));
  }, everySeconds * 1000);
  stop.signal.addEventListener("abort", () => clearInterval(timer));
  await publish();
}

function tellEvents({ clientId, events }: Agent, output: Output): void {
  const tell = (event: string, facts: object, text: string): void =>
    output.print({ event, clientId, ...facts }, () => text);
  const tellFailure = (event: string) => (failure: AgentFailure) =>
    tell(event, { why: failure.message }, `${event}: ${failure.message}`);
  events.on("connected", () => tell("connected", {}, `connected as ${clientId}`));
  events.on("renewed", (expiresAt) => tell("renewed", { expiresAt }, `token renewed until ${formatTime(expiresAt)}`));
  events.on("waiting", (delayMs) => tell("waiting", { delayMs }, `next attempt in ${Math.ceil(delayMs / 1000)} s`));
  for (const event of ["disconnected", "refused", "unreachable"] as const) events.on(event, tellFailure(event));
}
