/**
 * The names of Postern: project slugs, client names, client ids, and what an MQTT client id may be.
 */
import { refuse } from "./refusal.ts";

const slug = /^[a-z][a-z0-9-]{1,30}$/;
const name = /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/;
const host =
  /^(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?)*$/;
const suffix = /^[A-Za-z0-9_-]{1,64}$/;

/** Checks a project slug, 2 to 31 characters. Throws `registry.invalid`. */
export function assertSlug(text: string): void {
  if (!slug.test(text)) refuse("registry.invalid", "a project slug is [a-z][a-z0-9-]{1,30}");
}

/** Checks the name of a client, api, role or broker. Throws `registry.invalid`. */
export function assertName(text: string): void {
  if (!name.test(text)) refuse("registry.invalid", "a name is [A-Za-z0-9][A-Za-z0-9_-]{0,62}");
}

/** Takes `<project>.<name>` apart. Throws `client-id.malformed`. */
export function readClientId(id: string): { readonly project: string; readonly name: string } {
  const dot = id.indexOf(".");
  const parts = { project: id.slice(0, dot), name: id.slice(dot + 1) };
  if (dot < 0 || !slug.test(parts.project) || !name.test(parts.name)) {
    return refuse("client-id.malformed", "a client id is <project>.<name>");
  }
  return parts;
}

/** Takes `<project>/<api>` apart, which a resource server is called; nothing for what is no such name. */
export function readResourceServer(text: string): { readonly project: string; readonly api: string } | undefined {
  const slash = text.indexOf("/");
  const parts = { project: text.slice(0, slash), api: text.slice(slash + 1) };
  return slash >= 0 && slug.test(parts.project) && name.test(parts.api) ? parts : undefined;
}

/** Whether a text has the form of a client id or of `<project>/<api>`. What has not may be a secret in the wrong place. */
export function isCallerName(text: string): boolean {
  const mark = /[./]/.exec(text);
  return mark !== null && slug.test(text.slice(0, mark.index)) && name.test(text.slice(mark.index + 1));
}

/** The URI that stands in the subject alternative name of a device certificate. */
export function clientIdUrn(id: string): string {
  return `urn:postern:client:${id}`;
}

/** What a broker elsewhere is called where clients are called by their ids; the colon keeps it from being one. */
export function brokerSubject(name: string): string {
  return `broker:${name}`;
}

/** The URI that stands in the subject alternative name of a broker's certificate. */
export function brokerUrn(name: string): string {
  return `urn:postern:broker:${name}`;
}

/** The client that an MQTT client id belongs to: all of it, or what stands before the suffix. */
export function ownerOf(mqttClientId: string): string {
  const end = mqttClientId.indexOf(":");
  return end < 0 ? mqttClientId : mqttClientId.slice(0, end);
}

/** Whether an MQTT client id belongs to a subject: the subject itself, or subject, colon and a suffix. */
export function isClientIdOf(mqttClientId: string, subject: string): boolean {
  if (!mqttClientId.startsWith(subject)) return false;
  if (mqttClientId.length === subject.length) return true;
  // a subject that holds a colon could be another's with a suffix, so it takes none
  if (subject.includes(":")) return false;
  return mqttClientId[subject.length] === ":" && suffix.test(mqttClientId.slice(subject.length + 1));
}

/** Whether a text is a host name or an IP address, without port and brackets. */
export function isHost(text: string): boolean {
  return host.test(text) || (/^[0-9a-f:.]+$/i.test(text) && URL.canParse(`https://[${text}]`));
}
