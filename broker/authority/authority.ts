/**
 * The authority as one thing that is started and closed: an HTTPS server over a registry and a certificate authority.
 */
import type { Logger } from "pino";
import { setOwnAuthority } from "../registry/device-authorities.ts";
import type { Registry } from "../registry/registry.ts";
import { ensureSigningKey } from "../registry/signing-keys.ts";
import { createAuthFailures } from "./oauth/auth-failures.ts";
import type { CertificateAuthority, ServerCredential } from "./certificates/certificates.ts";
import {
  defaultLimits,
  type AccountSettings,
  type AuthorityContext,
  type AuthorityLimits,
  type BrokerAddresses,
  type ReadMetrics,
} from "./context.ts";
import { openHttpServer } from "./http.ts";
import { startListWork } from "./certificates/list-work.ts";
import { writeToLog } from "./accounts/mail.ts";
import { createQuota } from "./oauth/quota.ts";

/** What an authority is made of and where it listens. */
export interface AuthorityOptions {
  readonly registry: Registry;
  readonly ca: CertificateAuthority;
  /** What {@link CertificateAuthority.issueServer} gave. */
  readonly tls: ServerCredential;
  /** The address to listen on; all of them by default. */
  readonly host?: string | undefined;
  /** 0 takes a free one. */
  readonly port: number;
  /** The name in the default issuer. Default `localhost`. */
  readonly hostName?: string | undefined;
  /** The `iss` of tokens, an https origin. Default `https://<hostName>:<port>`. */
  readonly issuer?: string | undefined;
  /** Read at each request, so it may be filled in once the broker listens. */
  readonly brokers: BrokerAddresses;
  readonly adminKey: string;
  /** Default: registration by invitation, and mails are written to the log. */
  readonly accounts?: Partial<AccountSettings> | undefined;
  readonly log: Logger;
  readonly limits?: Partial<AuthorityLimits> | undefined;
  /** Asked at each `GET /metrics`; without it there is no such path. */
  readonly metrics?: ReadMetrics | undefined;
}

/** A running authority. */
export interface Authority {
  /** The issuer, which is also where the authority is reached. */
  readonly url: string;
  readonly port: number;
  /** Uses another server certificate from now on; connections stay. */
  renewTls(tls: ServerCredential): void;
  close(): Promise<void>;
}

/** Starts to serve. The registry stays the caller's to close. */
export async function startAuthority(options: AuthorityOptions): Promise<Authority> {
  const { registry, ca, brokers, adminKey, log } = options;
  ensureSigningKey(registry);
  setOwnAuthority(registry, ca.caCertificate);
  const limits: AuthorityLimits = { ...defaultLimits, ...options.limits };
  let issuer = options.issuer === undefined ? "" : readIssuer(options.issuer);
  const context: AuthorityContext = {
    registry,
    get issuer() {
      return issuer;
    },
    ca,
    brokers,
    adminKey,
    accounts: {
      registration: "invite",
      sendMail: writeToLog(log),
      isMailed: options.accounts?.sendMail !== undefined,
      ...options.accounts,
    },
    log,
    limits,
    quota: createQuota(limits.tokensPerMinute),
    failures: createAuthFailures(limits),
    metrics: options.metrics,
  };
  const server = await openHttpServer(context, options.tls);
  const port = await server.listen(options.port, options.host);
  // before the first connection: nothing but promises lies between the socket and here
  if (issuer === "") issuer = `https://${options.hostName ?? "localhost"}:${String(port)}`;
  const stopListing = startListWork(registry, log);
  return {
    url: issuer,
    port,
    renewTls: (tls) => server.renewTls(tls),
    close: async () => {
      stopListing();
      await server.close();
    },
  };
}

/** An https URL without query, fragment and slash at the end (RFC 8414, section 2). Throws TypeError. */
function readIssuer(text: string): string {
  const url = new URL(text);
  if (url.protocol !== "https:" || url.search !== "" || url.hash !== "")
    throw new TypeError("the issuer is no https url");
  return text.replace(/\/+$/, "");
}
