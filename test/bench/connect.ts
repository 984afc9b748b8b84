/**
 * CONNECT over TLS 1.3, against Aedes without hooks behind the same listener: what the gate adds to a connection.
 */
import { startChild, type Child } from "./child.ts";
import { connectOnce, openContext } from "./connect-load.ts";
import { DEVICE, type Installation, type TlsIdentity } from "./installation.ts";
import { cpuExcess, cpuRatio, measure, runWide, type Contestant, type Measured, type Plan } from "./rounds.ts";
import { formatCpu, formatGoal, formatRate, printHeading, printNote, printTable } from "./table.ts";

const atATime = 8;
const goalMilliseconds = 0.25;

export async function benchConnect(installation: Installation, plan: Plan, profileDir?: string): Promise<void> {
  const { dataDir, caPem, deviceSigner } = installation;
  const [bare, postern] = [await startChild("bare-broker", dataDir), await startChild("postern", dataDir, profileDir)];
  const issuer = `https://localhost:${postern.httpPort}`;
  let number = 0;

  const enter = (
    name: string,
    server: Child,
    way: { readonly identity?: TlsIdentity; readonly makeToken?: () => Uint8Array } = {},
  ): Contestant => {
    const context = openContext(caPem, way.identity);
    let tokens: (Uint8Array | undefined)[] = [];
    return {
      name,
      prepare: (operations) => {
        tokens = Array.from({ length: operations }, () => way.makeToken?.());
      },
      run: (operations) =>
        runWide(operations, atATime, (operation) => {
          const presented = { clientId: `${DEVICE}:${++number}`, token: tokens[operation] };
          return connectOnce(server.mqttsPort, context, presented, deviceSigner);
        }),
      cpuMicroseconds: () => server.cpuMicroseconds(),
    };
  };

  const sameToken = installation.token(issuer);
  const identity = installation.device;
  const results = await measure(
    [
      enter("bare Aedes, anonymous", bare),
      enter("token and proof, every token new", postern, { makeToken: () => installation.token(issuer) }),
      enter("token and proof, the same token again", postern, { makeToken: () => sameToken }),
      enter("bare Aedes, client certificate asked for and not looked at", bare, { identity }),
      enter("device certificate, grants of its roles", postern, { identity }),
    ],
    plan,
  );
  await bare.stop();
  await postern.stop();
  print(results, plan);
}

function print(results: readonly Measured[], plan: Plan): void {
  const [anonymous, fresh, again, bareCertificate, certificate] = results as [
    Measured,
    Measured,
    Measured,
    Measured,
    Measured,
  ];
  printHeading("CONNECT");
  printNote(
    `${plan.rounds} rounds of ${plan.operations} connections, ${atATime} at a time, each with a full TLS 1.3 handshake, ` +
      "CONNECT, CONNACK and DISCONNECT. CPU of the broker in µs per connection, user and system: median (least–most) of " +
      "the rounds. Difference and ratio are of CPU, pair by pair, to Aedes without hooks behind the same TLS listener; " +
      "the last column is the ratio to Aedes with client certificates.",
  );
  const toRow = (measured: Measured, base: Measured, hasGoal: boolean): string[] => {
    const isBase = measured === base;
    const excess = cpuExcess(measured, base) / 1000;
    return [
      measured.name,
      formatCpu(measured),
      isBase ? "" : `${excess < 0 ? "−" : "+"}${Math.abs(excess).toFixed(2)}`,
      cpuRatio(measured, base).toFixed(2),
      hasGoal ? formatGoal(excess, goalMilliseconds, " ms") : "",
      formatRate(measured),
      cpuRatio(measured, bareCertificate).toFixed(2),
    ];
  };
  printTable(
    [
      ["broker", "CPU µs", "more, ms", "ratio", "goal", "per s", "to certificates"],
      toRow(anonymous, anonymous, false),
      toRow(fresh, anonymous, true),
      toRow(again, anonymous, true),
      toRow(bareCertificate, bareCertificate, false),
      toRow(certificate, bareCertificate, false),
    ],
    [0, 4],
  );
}
