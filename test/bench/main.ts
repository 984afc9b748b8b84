/**
 * `npm run bench [-- sizes issue decide http broker revocation] [--quick] [--cpu-prof=DIR]`: figures measured side by side in one
 * run, as tables on stdout. Of the sections `http`, `broker` and `revocation` one case can be asked for: `http:issue`,
 * `broker:publish`, …
 *
 * These are not tests and nothing fails by a time. `--quick` is for seeing that it works; its figures mean little.
 */
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { benchBroker, brokerCases, type BrokerPlan } from "./broker/broker.ts";
import { benchDecide, type DecidePlan } from "./decide.ts";
import { benchHttp, httpCases, type HttpPlan } from "./http/http.ts";
import { furnishInstallation, type Installation } from "./installation.ts";
import { benchIssue } from "./issue.ts";
import { benchRevocation, revocationCases, type RevocationPlan } from "./revocation/revocation.ts";
import type { Plan } from "./rounds.ts";
import { benchSizes } from "./sizes.ts";
import { printNote } from "./table.ts";

interface Plans {
  readonly issue: Plan;
  readonly decide: DecidePlan;
  readonly http: HttpPlan;
  readonly broker: BrokerPlan;
  readonly revocation: RevocationPlan;
}

const plans: Record<"full" | "quick", Plans> = {
  full: {
    issue: { rounds: 15, operations: 1500, warmUp: 3000 },
    decide: { rounds: 15, decisions: 200_000 },
    http: {
      issue: { rounds: 15, operations: 1000, warmUp: 3000 },
      introspect: { rounds: 15, operations: 1000, warmUp: 3000 },
      local: { rounds: 15, operations: 3000, warmUp: 6000 },
      memory: { warmUp: 5000, tokens: 100_000 },
    },
    broker: {
      publish: {
        rounds: 11,
        toOne: 40_000,
        toHundred: 2000,
        steadySeconds: 0.6,
        floodRounds: 5,
        floodMessages: 150_000,
      },
      connect: { rounds: 15, operations: 200, warmUp: 400 },
      memory: { connections: 5000, rounds: 3, mutualRounds: 2 },
      stored: {
        connected: { rounds: 9, operations: 20_000, warmUp: 20_000 },
        away: { rounds: 9, operations: 9000, warmUp: 9000 },
      },
      latency: { rounds: 4, milliseconds: 3000, fillMilliseconds: 1500, reconnecting: 5000 },
    },
    revocation: {
      latency: { size: { bearer: 10_000, bound: 600, certified: 600 }, calls: 300 },
      many: { size: { bearer: 10_000, bound: 0, certified: 0 }, clients: 1000, calls: 5 },
      cost: {
        lengths: [1000, 1_000_000],
        connect: { rounds: 15, operations: 400, warmUp: 800 },
        publish: { rounds: 15, operations: 40_000, warmUp: 40_000 },
      },
      feed: { size: { bearer: 1000, bound: 0, certified: 100 }, calls: 20, burst: 100 },
      million: { length: 1_000_000, rounds: 5 },
      start: {
        rounds: 3,
        views: [
          { clients: 1, listed: 0 },
          { clients: 10_000, listed: 0 },
          { clients: 1, listed: 1_000_000 },
        ],
      },
    },
  },
  quick: {
    issue: { rounds: 3, operations: 200, warmUp: 200 },
    decide: { rounds: 3, decisions: 50_000 },
    http: {
      issue: { rounds: 3, operations: 200, warmUp: 200 },
      introspect: { rounds: 3, operations: 200, warmUp: 200 },
      local: { rounds: 3, operations: 500, warmUp: 500 },
      memory: { warmUp: 500, tokens: 3000 },
    },
    broker: {
      publish: { rounds: 3, toOne: 10_000, toHundred: 300, steadySeconds: 0.2, floodRounds: 2, floodMessages: 10_000 },
      connect: { rounds: 3, operations: 40, warmUp: 40 },
      memory: { connections: 1000, rounds: 1, mutualRounds: 1 },
      stored: {
        connected: { rounds: 3, operations: 5000, warmUp: 5000 },
        away: { rounds: 3, operations: 2000, warmUp: 2000 },
      },
      latency: { rounds: 1, milliseconds: 500, fillMilliseconds: 500, reconnecting: 400 },
    },
    revocation: {
      latency: { size: { bearer: 400, bound: 40, certified: 40 }, calls: 20 },
      many: { size: { bearer: 400, bound: 0, certified: 0 }, clients: 100, calls: 2 },
      cost: {
        lengths: [1000, 100_000],
        connect: { rounds: 3, operations: 40, warmUp: 40 },
        publish: { rounds: 3, operations: 5000, warmUp: 5000 },
      },
      feed: { size: { bearer: 100, bound: 0, certified: 10 }, calls: 3, burst: 20 },
      million: { length: 100_000, rounds: 1 },
      start: { rounds: 1, views: [{ clients: 200, listed: 20_000 }] },
    },
  },
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { quick: { type: "boolean", default: false }, "cpu-prof": { type: "string" } },
});
const plan = values.quick ? plans.quick : plans.full;
const profileDir = values["cpu-prof"];

type Section = (installation: Installation) => Promise<void>;

const sections: Record<string, Section> = {
  sizes: benchSizes,
  issue: (installation) => benchIssue(installation, plan.issue, profileDir),
  decide: () => Promise.resolve(benchDecide(plan.decide)),
  http: (installation) => benchHttp(installation, plan.http, httpCases, profileDir),
  broker: (installation) => benchBroker(installation, plan.broker, brokerCases, profileDir),
  revocation: (installation) => benchRevocation(installation, plan.revocation, revocationCases, profileDir),
};
const parts: Record<string, Section> = Object.fromEntries([
  ...httpCases.map((name): [string, Section] => [
    `http:${name}`,
    (installation) => benchHttp(installation, plan.http, [name], profileDir),
  ]),
  ...brokerCases.map((name): [string, Section] => [
    `broker:${name}`,
    (installation) => benchBroker(installation, plan.broker, [name], profileDir),
  ]),
  ...revocationCases.map((name): [string, Section] => [
    `revocation:${name}`,
    (installation) => benchRevocation(installation, plan.revocation, [name], profileDir),
  ]),
]);

const known = { ...sections, ...parts };
const unknown = positionals.filter((name) => !(name in known));
if (unknown.length > 0) {
  console.error(`no section ${unknown.join(", ")}; there are ${Object.keys(known).join(", ")}`);
  process.exit(2);
}

const [core] = cpus();
printNote(
  `Node ${process.versions.node}, ${cpus().length} × ${core?.model ?? "unknown processor"}, ${process.platform}.`,
);
const installation = await furnishInstallation();
try {
  for (const name of positionals.length > 0 ? positionals : Object.keys(sections)) {
    console.error(`measuring ${name} …`);
    await known[name]!(installation);
  }
} finally {
  installation.remove();
}
