/**
 * `npm run bench [-- sizes issue connect decide] [--quick] [--cpu-prof=DIR]`: figures measured side by side in one run, as
 * tables on stdout.
 *
 * These are not tests and nothing fails by a time. `--quick` is for seeing that it works; its figures mean little.
 */
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { benchConnect } from "./connect.ts";
import { benchDecide } from "./decide.ts";
import { furnishInstallation, type Installation } from "./installation.ts";
import { benchIssue } from "./issue.ts";
import { benchSizes } from "./sizes.ts";
import { printNote } from "./table.ts";

const plans = {
  full: {
    issue: { rounds: 15, operations: 1500, warmUp: 3000 },
    connect: { rounds: 15, operations: 250, warmUp: 500 },
    decide: { rounds: 15, decisions: 200_000 },
  },
  quick: {
    issue: { rounds: 3, operations: 200, warmUp: 200 },
    connect: { rounds: 3, operations: 40, warmUp: 40 },
    decide: { rounds: 3, decisions: 50_000 },
  },
} as const;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { quick: { type: "boolean", default: false }, "cpu-prof": { type: "string" } },
});
const plan = values.quick ? plans.quick : plans.full;
const profileDir = values["cpu-prof"];

const sections: Record<string, (installation: Installation) => Promise<void>> = {
  sizes: benchSizes,
  issue: (installation) => benchIssue(installation, plan.issue, profileDir),
  connect: (installation) => benchConnect(installation, plan.connect, profileDir),
  decide: () => Promise.resolve(benchDecide(plan.decide)),
};

const unknown = positionals.filter((name) => !(name in sections));
if (unknown.length > 0) {
  console.error(`no section ${unknown.join(", ")}; there are ${Object.keys(sections).join(", ")}`);
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
    await sections[name]!(installation);
  }
} finally {
  installation.remove();
}
