/**
 * Who a broker elsewhere is: the folder with its key and certificate, enrolled once with a ticket and renewed from then on.
 *
 * Beside the data of the broker stand `key.pem` (written before the first request goes out), `certificate.pem`, `ca.pem` and,
 * last of all, `broker.json`, which makes it enrolled; each is 0600 and written in one rename.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { existsSync } from "node:fs";
import { isIP } from "node:net";
import { join } from "node:path";
import type { Logger } from "pino";
import { openServerClock, type ServerClock } from "../agent/clock.ts";
import { requestCertificate, verifyCertificate } from "../agent/est.ts";
import { parseJson, readText, writeAtomically } from "../agent/folder.ts";
import { isPinned, readTicket, redeemTicket } from "../agent/redeem.ts";
import { isRenewalDue } from "../agent/renew.ts";
import * as state from "../agent/state.ts";
import type { BrokerIdentity } from "../broker/standalone.ts";
import { readBrokerCertificate, type BrokerCertificate } from "../shared/broker-certificate.ts";
import { brokerSubject } from "../shared/names.ts";
import { Refusal } from "../shared/refusal.ts";
import type { Ticket } from "../shared/ticket.ts";
import { fail } from "./failure.ts";

/** What a broker starts from. */
export interface IdentityOptions {
  readonly dir: string;
  /** Needed the first time, and when the certificate has run out. */
  readonly ticket?: string | undefined;
  /** The name under which clients reach this machine; the first that the certificate carries unless told. */
  readonly host?: string | undefined;
  readonly log: Logger;
  readonly clock?: ServerClock;
}

/** An identity that is renewed in place. */
export interface OwnIdentity extends BrokerIdentity {
  /** A name that the certificate is for. */
  readonly host: string;
  /** Has the certificate followed by another, for the hosts of the day. Rejects with `AgentFailure`. */
  renew(): Promise<void>;
}

/** broker.json. */
interface Enrolment {
  readonly name: string;
  readonly authority: string;
}

/** All PEM but the enrolment. */
interface Held {
  readonly enrolment: Enrolment;
  readonly keyPem: string;
  readonly caPem: string;
  certificatePem: string;
}

const enrolmentFile = "broker.json";
/** What makes a folder that of an authority, whose files these would be mixed with. */
const authorityFile = "postern.db";
const localNames: ReadonlySet<string> = new Set(["localhost", "127.0.0.1", "0:0:0:0:0:0:0:1"]);

/** Opens the folder, enrolled with the ticket where it must be, and with a certificate that will do. */
export async function openBrokerIdentity(options: IdentityOptions): Promise<OwnIdentity> {
  const { dir, host: wanted, log, clock = openServerClock() } = options;
  if (existsSync(join(dir, authorityFile))) fail(`${dir} is the data folder of an authority; give another with --data`);
  const { held, isNew } = await openHeld(options, clock);
  const { enrolment, keyPem, caPem } = held;
  const { name } = enrolment;
  const renewInPlace = async (): Promise<void> => {
    held.certificatePem = await renew(dir, held, clock);
  };
  const isWanting = wanted !== undefined && !isNew && !carries(held.certificatePem, wanted);
  if (isWanting || isRenewalDue(held.certificatePem, clock.nowSeconds())) {
    // without the authority it serves as long as the certificate lasts
    await renewInPlace().catch((error: unknown) => log.error({ err: error }, "certificate not renewed"));
  }
  const { hosts } = readOwn(held, clock);
  const host = wanted ?? hosts.find((one) => !localNames.has(one)) ?? "localhost";
  if (!carries(held.certificatePem, host)) {
    fail(
      `the certificate of broker ${name} is for ${hosts.join(", ")} and not for ${host}; on the authority, ` +
        `postern ticket create --broker ${name} --host ${host} allows it, then start again`,
    );
  }
  return {
    ...enrolment,
    caPem,
    host,
    current: () => ({ cert: held.certificatePem, key: keyPem }),
    renew: renewInPlace,
  };
}

/** What the folder holds, or what the ticket brings where that is nothing or has run out. */
async function openHeld(
  { dir, ticket: text, log }: IdentityOptions,
  clock: ServerClock,
): Promise<{ readonly held: Held; readonly isNew: boolean }> {
  const held = readHeld(dir);
  const ticket = text === undefined ? undefined : readTicket(text);
  if (held !== undefined && ticket !== undefined) assertSameAuthority(dir, held, ticket);
  if (held !== undefined && isInTime(held, clock)) {
    const { name: broker, authority } = held.enrolment;
    if (ticket !== undefined) log.info({ broker, authority }, "enrolled already, the ticket is not used");
    return { held, isNew: false };
  }
  if (ticket !== undefined) return { held: await enrol(dir, ticket, held, log, clock), isNew: true };
  const why =
    held === undefined
      ? `no enrolled broker in ${dir}`
      : `the certificate of broker ${held.enrolment.name} has run out`;
  return fail(`${why}; give --ticket (or POSTERN_TICKET) with one from postern ticket create --broker NAME`);
}

function assertSameAuthority(dir: string, { enrolment, caPem }: Held, ticket: Ticket): void {
  const { name, authority } = enrolment;
  const isSame = ticket.authority === authority && isPinned(new X509Certificate(caPem), Buffer.from(ticket.pin, "hex"));
  if (isSame) return;
  fail(
    `${dir} is enrolled as broker ${name} at ${authority}, and the ticket is of another authority, ${ticket.authority}; ` +
      `give another folder with --data`,
  );
}

async function enrol(
  dir: string,
  ticket: Ticket,
  before: Held | undefined,
  log: Logger,
  clock: ServerClock,
): Promise<Held> {
  const redeemed = await redeemTicket(ticket, dir, clock, (certificate, ca) => {
    return readBrokerCertificate(certificate, [ca], clock.nowSeconds()).name;
  });
  const { name } = redeemed;
  if (before !== undefined && before.enrolment.name !== name) {
    const known = `${dir} is enrolled as broker ${before.enrolment.name}`;
    return fail(`${known}, and the ticket is for ${name}; give another folder with --data`);
  }
  const enrolment = { name, authority: ticket.authority };
  state.writeCa(dir, redeemed.caPem);
  state.writeCertificate(dir, redeemed.certificatePem);
  writeAtomically(dir, enrolmentFile, `${JSON.stringify(enrolment, null, 2)}\n`);
  log.info({ broker: name, authority: ticket.authority }, "enrolled");
  return { ...redeemed, enrolment };
}

/** What the folder holds of an enrolment that was finished. */
function readHeld(dir: string): Held | undefined {
  const text = readText(dir, enrolmentFile);
  if (text === undefined) return undefined;
  const { name, authority } = (parseJson(text) ?? {}) as Partial<Enrolment>;
  if (typeof name !== "string" || typeof authority !== "string" || !URL.canParse(authority)) {
    return fail(`${join(dir, enrolmentFile)} is damaged`);
  }
  const [keyPem = "", certificatePem = "", caPem = ""] = [
    state.readKey(dir),
    state.readCertificate(dir),
    state.readCa(dir),
  ];
  if (!isWhole(keyPem, certificatePem, caPem)) {
    return fail(`key.pem, certificate.pem or ca.pem in ${dir} is missing or damaged; enrol again in another folder`);
  }
  return { enrolment: { name, authority }, keyPem, certificatePem, caPem };
}

function isWhole(keyPem: string, certificatePem: string, caPem: string): boolean {
  try {
    const isCa = new X509Certificate(caPem).ca;
    return isCa && new X509Certificate(certificatePem).checkPrivateKey(createPrivateKey(keyPem));
  } catch {
    return false;
  }
}

async function renew(
  dir: string,
  { enrolment, keyPem, caPem, certificatePem }: Held,
  clock: ServerClock,
): Promise<string> {
  const { name, authority } = enrolment;
  const privateKey = createPrivateKey(keyPem);
  const renewed = await requestCertificate({
    url: new URL("/.well-known/est/simplereenroll", authority),
    caPem,
    privateKey,
    clock,
    present: { certificatePem, keyPem, subject: `CN=${brokerSubject(name)}` },
    otherwise: "the certificate is not renewed",
  });
  const readName = (certificate: X509Certificate, ca: X509Certificate): string =>
    readBrokerCertificate(certificate, [ca], clock.nowSeconds()).name;
  const named = verifyCertificate(renewed, new X509Certificate(caPem), privateKey, readName);
  if (named !== name) return fail(`the renewed certificate is for broker ${named}`);
  state.writeCertificate(dir, renewed);
  return renewed;
}

/** Whether the certificate is in time; throws what else is wrong with it. */
function isInTime(held: Held, clock: ServerClock): boolean {
  try {
    readOwn(held, clock);
    return true;
  } catch (error) {
    if (error instanceof Refusal && error.reason === "certificate.expired") return false;
    throw error;
  }
}

function readOwn({ certificatePem, caPem }: Held, clock: ServerClock): BrokerCertificate {
  const certificate = new X509Certificate(certificatePem);
  // it was good when it came: a clock that says that it is not yet is behind
  const nowSeconds = Math.max(clock.nowSeconds(), Date.parse(certificate.validFrom) / 1000);
  return readBrokerCertificate(certificate, [new X509Certificate(caPem)], nowSeconds);
}

function carries(certificatePem: string, host: string): boolean {
  const certificate = new X509Certificate(certificatePem);
  return (isIP(host) === 0 ? certificate.checkHost(host) : certificate.checkIP(host)) !== undefined;
}
