/**
 * `npm start`: the main job, running for real on this machine until Ctrl-C.
 *
 * Authority and broker run as `postern up`, the sample agent as `postern agent run`, each a process of its own. This
 * process plays the administrator (over `/v1`), the second client that prints what it receives, and the attempt that the
 * role does not allow. Started again on the same data it finds everything in place.
 */
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { join, relative } from "node:path";
import { enrol, openAgent, type Agent } from "../agent/agent.ts";
import { readEnrolment } from "../agent/state.ts";
import { inspectToken } from "../shared/token.ts";
import { formatPermission } from "../shared/scope.ts";
import { openAdminClient, readDataDir } from "../cli/admin-client.ts";
import { api, device, furnish, project, laptopSecretFile, viewer } from "./furnish.ts";
import { startCommand, type RunningCommand } from "./processes.ts";

const dataDir = process.env["POSTERN_DATA"] ?? "./postern-data";
const demoDir = join(dataDir, "demo");
const reportTopic = `${project}/${device}/machine`;
const forbiddenTopic = `${project}/${viewer}/door`;

function say(text = ""): void {
  process.stdout.write(`${text}\n`);
}

async function main(): Promise<void> {
  const ended = untilInterrupted();
  const running: RunningCommand[] = [];
  const agents: Agent[] = [];
  try {
    const up = startCommand(["up", "--data", dataDir, "--json", "--log-level", "error", ...process.argv.slice(2)]);
    running.push(up);
    const ready = await Promise.race([up.firstLine(), up.failed()]);
    const { issuer, mqtts, ca } = JSON.parse(ready) as { issuer: string; mqtts: string; ca: string };
    say(`authority  ${issuer}`);
    say(`broker     ${mqtts}`);
    say(`data       ${dataDir} (SQLite, keys, certificates)`);

    mkdirSync(demoDir, { recursive: true, mode: 0o700 });
    const access = readDataDir(dataDir) as Parameters<typeof openAdminClient>[0];
    const admin = openAdminClient(access);
    for (const line of await furnish(admin, demoDir)) say(line);
    for (const name of [device, viewer]) {
      const dir = join(demoDir, name);
      if (readEnrolment(dir) !== undefined) say(`known      ${project}.${name}, enrolled before`);
      else {
        const { ticket } = await admin.post<{ ticket: string }>(`/v1/projects/${project}/tickets`, {
          client: name,
          ttl_seconds: 600,
        });
        await enrol(ticket, dir);
        say(`enrolled   ${project}.${name} with a ticket: key made here, certificate signed by the authority`);
      }
    }
    admin.close();

    const reader = openAgent({ dir: join(demoDir, viewer), api });
    agents.push(reader);
    await introduce(reader);
    await connect(reader);
    await reader.subscribe(`${project}/#`, (message) => {
      say(`received   ${message.topic} ${Buffer.from(message.payload).toString()}`);
    });

    const sample = openAgent({ dir: join(demoDir, device), api, suffix: "probe", retry: "never" });
    agents.push(sample);
    await introduce(sample);
    await connect(sample);
    await tryForbidden(sample);
    await sample.close();

    say(`\nThe agent now publishes this machine's load, memory and temperature on ${reportTopic}; Ctrl-C ends it.`);
    printCommands(mqtts, ca);
    const agentArguments = ["agent", "run", "--dir", join(demoDir, device), "--api", api];
    const agent = startCommand([...agentArguments, "--report", reportTopic, "--every", "5s"]);
    running.push(agent);
    await Promise.race([ended, up.failed(), agent.failed()]);
    say("\nclosing");
  } finally {
    await Promise.allSettled(agents.map((agent) => agent.close()));
    for (const command of running.toReversed()) await command.stop();
  }
}

/** Says what a client's token is and what it allows. */
async function introduce(agent: Agent): Promise<void> {
  const held = await agent.token();
  const token = inspectToken(held.bytes);
  const allowed = token.grants.map(formatPermission).join(", ");
  const seconds = token.claims.exp - token.claims.iat;
  say(
    `token      ${agent.clientId}: ${token.format.toUpperCase()} of ${token.bytes} bytes for ${seconds} s, may ${allowed}`,
  );
}

/** Connects, which takes the token and a signature that no other connection can use. */
async function connect(agent: Agent): Promise<void> {
  await agent.connect();
  say(`proven     ${agent.clientId} signed a value of this TLS connection with its key and is connected`);
}

/** Publishes what the role does not allow and says what became of it. */
async function tryForbidden(agent: Agent): Promise<void> {
  try {
    await agent.publish(forbiddenTopic, Buffer.from("open"), { qos: 1 });
    throw new Error(`the broker let ${agent.clientId} publish on ${forbiddenTopic}`);
  } catch (error) {
    if (!(error instanceof Error) || error.name !== "AgentFailure") throw error;
    say(`refused    ${agent.clientId} on ${forbiddenTopic}: ${error.message}`);
  }
}

function printCommands(mqtts: string, ca: string): void {
  const port = new URL(mqtts).port;
  const caFile = relative(".", ca);
  const command = "node dist/cli/main.js";
  const data = dataDir === "./postern-data" ? "" : ` --data ${dataDir}`;
  say("\nTry next, in another terminal:");
  say(`  ${command} client list --project ${project}${data}`);
  say(`  export POSTERN_CLIENT_SECRET=$(cat ${laptopSecretFile(demoDir)})`);
  say(`  TOKEN=$(${command} token get --client ${project}.laptop --project ${project} --api ${api}${data})`);
  say(`  ${command} token inspect "$TOKEN"`);
  say(
    `  mosquitto_sub -h localhost -p ${port} --cafile ${caFile} -i ${project}.laptop -u any -P "$TOKEN" -t '${project}/#' -v`,
  );
  say(`  openssl s_client -connect localhost:${port} -CAfile ${caFile} -brief </dev/null`);
  say(`  ${command} client disable ${project}.laptop${data}\n`);
}

async function untilInterrupted(): Promise<void> {
  await Promise.race([once(process, "SIGINT"), once(process, "SIGTERM")]);
}

main().catch((error: unknown) => {
  process.stderr.write(`postern: start: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
});
