/**
 * Where mails go and who they are from, as operators write it: `smtp://user:password@host:587`, `smtps://host`, and
 * `Postern <postern@example.com>`.
 *
 * Refuses an address with anything more to it, a query above all, which could switch off the check of a certificate.
 */
import { isIPv4 } from "node:net";

/** A mail server and how it is spoken to. */
export interface SmtpServer {
  /** A name or an address, without brackets. */
  readonly host: string;
  readonly port: number;
  /** TLS from the first byte (`smtps`). */
  readonly isSecure: boolean;
  /** Whether it is on this machine; everybody else is spoken to over TLS alone. */
  readonly isLocal: boolean;
  /** PEM of the authorities for its certificate; the system's where there are none. */
  readonly ca?: string;
  readonly user?: string;
  readonly password?: string;
}

/** Who mails are from. */
export interface MailAddress {
  /** Empty where there is none. */
  readonly name: string;
  readonly address: string;
}

/** One address without a display name and without anything that means something in a header or in SMTP. */
const address = /^[^\s\p{C}@<>()[\]\\,;:"]{1,64}@[^\s\p{C}@<>()\\,;"]{1,255}$/u;

/** Whether it is one mail address and nothing beside it. */
export function isMailAddress(text: string): boolean {
  return text.length <= 254 && address.test(text);
}

/** Reads `smtp://` or `smtps://`. Throws TypeError, without the text, which holds a password. */
export function readSmtpServer(text: string): SmtpServer {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isSecure = url?.protocol === "smtps:";
  if (url === undefined || (!isSecure && url.protocol !== "smtp:") || url.hostname === "") {
    throw new TypeError("is no address like smtp://user:password@host:587");
  }
  if (!["", "/"].includes(url.pathname) || /[?#]/.test(text)) {
    throw new TypeError("has something after the host and the port");
  }
  const user = decode(url.username);
  const password = decode(url.password);
  if ((user === "") !== (password === "")) throw new TypeError("has a user without a password, or the other way round");
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1").toLowerCase();
  return {
    host,
    port: url.port === "" ? (isSecure ? 465 : 587) : Number(url.port),
    isSecure,
    isLocal: host === "localhost" || host === "::1" || (isIPv4(host) && host.startsWith("127.")),
    ...(user !== "" && { user, password }),
  };
}

/** Reads an address, with or without a name before it. Throws TypeError. */
export function readMailAddress(text: string): MailAddress {
  const match = /^(?<name>[^<>]*)<(?<address>[^<>]*)>$/.exec(text.trim());
  const name = (match?.groups?.["name"] ?? "").trim().replace(/^"(.*)"$/, "$1");
  const found = match?.groups?.["address"] ?? text.trim();
  if (!isMailAddress(found) || /[\p{C}"\\]/u.test(name)) {
    throw new TypeError("is no address like Postern <postern@example.com>");
  }
  return { name, address: found };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new TypeError("has a user or a password with a % that stands for nothing");
  }
}
