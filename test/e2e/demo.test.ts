/** `npm start`: the main job runs, shows its refused attempt, ends with Ctrl-C, and starts again on the same data. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { isInstalled } from "../peers.ts";
import { demo, findPorts, makeFolder, run, shell, start, type Ports, type Running } from "./fixture.ts";

let running: Running | undefined;
// it has children of its own, which a kill would leave behind
afterAll(async () => {
  if (running?.isRunning === true) await running.stop();
});

function startDemo(cwd: string, { http, mqtts, wss }: Ports): Running {
  const words = `--http-port ${http} --mqtts-port ${mqtts} --wss-port ${wss}`.split(" ");
  running = start(process.execPath, [demo, ...words], { cwd, ownGroup: true });
  return running;
}

it("shows the main job, twice on the same data", async () => {
  const folder = makeFolder();
  const ports = await findPorts();

  const first = startDemo(folder, ports);
  await first.stdout.next(/^created {4}project home/);
  await first.stdout.next(/^enrolled {3}home\.gateway /);
  expect(await first.stdout.next(/^token {6}home\.gateway/)).toMatch(/CWT of \d+ bytes for 3600 s, may .*machine/);
  await first.stdout.next(/^refused {4}home\.gateway on home\/viewer\/door: /);
  for (const _ of [1, 2]) {
    const [, topic, payload] = /^received +(\S+) (.*)$/.exec(await first.stdout.next(/^received/))!;
    expect(topic).toBe("home/gateway/machine");
    expect(JSON.parse(payload!)).toMatchObject({ load: expect.any(Array), memory: { total: expect.any(Number) } });
  }
  expect(first.stdout.text).not.toMatch(/^received +home\/viewer/m);
  await tryPrintedCommands(first, folder);

  first.interruptGroup();
  expect(await first.ended()).toMatchObject({ stderr: "", exitCode: 0 });
  expect(readdirSync(folder)).toEqual(["postern-data"]);

  const second = startDemo(folder, ports);
  await second.stdout.next(/^known {6}home\.gateway/);
  await second.stdout.next(/^refused/);
  await second.stdout.next(/^received +home\/gateway\/machine \{/);
  expect(second.stdout.text).not.toContain("created ");
  // the signal of a service manager that knows one process only
  second.signal("SIGINT");
  expect(await second.ended()).toMatchObject({ stderr: "", exitCode: 0 });
}, 120_000);

it("says in one line why it does not start", async () => {
  const folder = makeFolder();
  const outcome = await run(process.execPath, [demo, "--http-port", "70000"], { cwd: folder });
  expect(outcome).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(/^postern: [^\n]+\n$/) });
});

/** The commands to copy and paste work as they stand, in the folder where it was started. */
async function tryPrintedCommands(demoRun: Running, folder: string): Promise<void> {
  const printed = demoRun.stdout.seen.filter((line) => line.startsWith("  ")).map((line) => line.trim());
  expect(printed.length).toBeGreaterThanOrEqual(6);
  const script = printed
    .map((line) => line.replace("node dist/cli/main.js", `node "$POSTERN"`))
    .filter(
      (line) => isInstalled(line.split(" ", 1)[0]!.replace("TOKEN=$(node", "node")) || !/^(mosq|openssl)/.test(line),
    )
    .map((line) => (line.startsWith("mosquitto_sub") ? `${line} -C 1 -W 30` : line))
    .join("\n");
  const output = await shell(folder, script, { POSTERN: join(demo, "../../cli/main.js") });
  expect(output).toContain("home.laptop");
  expect(output).toMatch(/token +JWT/);
  if (isInstalled("mosquitto_sub")) expect(output).toMatch(/^home\/gateway\/machine \{/m);
}
