/**
 * What the tests of revocation in processes have in common: an administrator and clients over connections that are kept, a
 * project whose tokens need no key, and brokers elsewhere.
 */
import { readFileSync } from "node:fs";
import { Agent, request } from "node:https";
import { join } from "node:path";
import { afterAll, expect, vi } from "vitest";
import { decodeTrl, HASH_BYTES } from "../../../shared/trl.ts";
import { tokenHashes } from "../../../shared/token.ts";
import { readSeries } from "../../broker/scrape.ts";
import { makeFolder, startPostern, type Json, type Ready, type Running } from "../fixture.ts";
import type { MqttPeer, Served } from "../mqtt-peer.ts";

export interface Answer {
  readonly status: number;
  readonly body: Buffer;
}

/** What is sent beside method and path. */
export interface Sent {
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A client with a secret. */
export interface Service {
  readonly id: string;
  readonly secret: string;
}

/** Where an authority is, and how its administrator proves it. */
export interface DeskOptions extends Pick<Ready, "issuer" | "ca" | "adminKey"> {
  /** The address to connect to; default, that of the issuer. */
  readonly address?: string;
}

const desks = new Set<Desk>();
afterAll(() => desks.forEach((desk) => desk.close()));

/** Sends to an authority over connections that are kept. */
export class Desk {
  readonly #url: URL;
  readonly #agent: Agent;
  readonly #admin: Readonly<Record<string, string>>;

  constructor({ issuer, ca, adminKey, address }: DeskOptions) {
    this.#url = new URL(issuer);
    const to = address === undefined ? {} : { host: address, servername: this.#url.hostname };
    this.#agent = new Agent({ keepAlive: true, maxSockets: 4, ca: readFileSync(ca), ...to });
    this.#admin = { authorization: `Bearer ${readFileSync(adminKey, "utf8").trim()}` };
    desks.add(this);
  }

  /** As the administrator, unless the headers say otherwise. Rejects when there is no whole answer. */
  send(method: string, path: string, { body, headers = this.#admin }: Sent = {}): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const type = body === undefined ? {} : { "content-type": "application/json" };
      const url = new URL(path, this.#url);
      const sent = request(url, { method, agent: this.#agent, headers: { ...type, ...headers } }, (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => resolve({ status: response.statusCode!, body: Buffer.concat(chunks) }));
      });
      sent.on("error", reject);
      sent.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  /** The JSON of an answer that is not a refusal. */
  async json(method: string, path: string, body?: unknown): Promise<Json> {
    const answer = await this.send(method, path, { body });
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.body.toString()}`);
    return answer.body.length === 0 ? undefined : JSON.parse(answer.body.toString());
  }

  /** All items of a list, page after page. */
  async list(path: string): Promise<Json[]> {
    const items: Json[] = [];
    for (let after = ""; ;) {
      const page = await this.json("GET", `${path}?limit=1000${after}`);
      items.push(...page.items);
      if (typeof page.next !== "string") return items;
      after = `&after=${page.next}`;
    }
  }

  /** Takes back; how many of each kind were not before. */
  revoke(wish: object): Promise<Json> {
    return this.json("POST", "/v1/revocations", wish);
  }

  /** Everything on the list of revoked tokens, as hex. */
  async listed(): Promise<ReadonlySet<string>> {
    const { body } = await this.send("GET", "/revoke/trl");
    const hex = Buffer.from(decodeTrl(body).fullSet!).toString("hex");
    return new Set(hex.match(new RegExp(`.{${2 * HASH_BYTES}}`, "g")));
  }

  makeProject(slug: string): Promise<Json> {
    return this.json("POST", "/v1/projects", { slug });
  }

  /** An api of bearer tokens on `<tree>/#`, by default its name, and a role of its name that may do everything there. */
  async makeApi(project: string, name: string, more: object = {}, tree = name): Promise<void> {
    const at = `/v1/projects/${project}`;
    const api = { name, kind: "mqtt", topics: [`${tree}/#`], bearer: true, ...more };
    await this.json("POST", `${at}/apis`, api);
    await this.json("POST", `${at}/roles`, { name, api: name, permissions: [`pubsub:${tree}/#`] });
  }

  async makeService(id: string, roles: readonly string[] = ["tele"]): Promise<Service> {
    const [project, name] = id.split(".");
    const made = await this.json("POST", `/v1/projects/${project}/clients`, { name, kind: "service", roles });
    return { id, secret: made.client_secret };
  }

  /** Asks for a token with the secret. */
  askToken({ id, secret }: Service): Promise<Answer> {
    const body = { grant_type: "client_credentials", client_id: id, client_secret: secret };
    return this.send("POST", "/token", { body, headers: { accept: "application/json" } });
  }

  async token(service: Service): Promise<string> {
    const { status, body } = await this.askToken(service);
    if (status !== 200) throw new Error(`no token: ${status} ${body.toString()}`);
    return JSON.parse(body.toString()).access_token;
  }

  close(): void {
    this.#agent.destroy();
    desks.delete(this);
  }
}

/** The RFC 9770 hash under which the list has a token. */
export function hashOf(token: string): string {
  return tokenHashes(token)[0]!;
}

/** A broker elsewhere. */
export interface Edge extends Served {
  readonly process: Running;
  readonly dir: string;
  /** Ends it without warning, and waits until it is gone. */
  kill(): Promise<void>;
  /** A series of its metrics. */
  figure(name: string): Promise<number | undefined>;
}

export interface EdgeOptions {
  readonly dir?: string;
  /** Makes the ticket for the first start. */
  readonly desk?: Desk;
  /** More words of the command line. */
  readonly words?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Default `edge`. */
  readonly name?: string;
}

/** Starts `postern broker` and waits until it is ready; with a desk it enrols first. */
export async function openEdge(options: EdgeOptions): Promise<Edge> {
  const { dir = join(makeFolder(), "edge"), desk, words, name = "edge" } = options;
  const ticket = desk === undefined ? undefined : await desk.json("POST", `/v1/brokers/${name}/tickets`, {});
  const env = { ...options.env, ...(ticket !== undefined && { POSTERN_TICKET: ticket.ticket }) };
  const more = words === undefined ? "" : ` ${words}`;
  const process = startPostern(`broker --json --data ${dir} --mqtts-port 0 --wss-port 0${more}`, { env });
  const ready = await process.stdout.json({ event: "ready" }).catch((error: unknown) => {
    throw new Error(`postern broker did not start: ${process.stderr.text}`, { cause: error });
  });
  return {
    ready,
    process,
    dir,
    async kill() {
      process.signal("SIGKILL");
      await process.ended();
    },
    figure: async (name) => readSeries(await getPage(ready, "/metrics")).get(name),
  };
}

/** A page that a broker has for this machine. */
export function getPage(ready: Served["ready"], path: string): Promise<string> {
  const url = new URL(path, ready.wss.replace("wss:", "https:"));
  return new Promise((resolve, reject) => {
    request(url, { agent: false, ca: readFileSync(ready.ca) }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (part: string) => (text += part));
      response.on("end", () => resolve(text));
    })
      .on("error", reject)
      .end();
  });
}

/** Waits until it does not throw any more. */
export function until<T>(what: () => Promise<T> | T, milliseconds = 30_000): Promise<T> {
  return vi.waitFor(what, { timeout: milliseconds, interval: 20 });
}

/** Waits for a second to begin. */
export async function nextSecond(): Promise<number> {
  const time = Math.floor(Date.now() / 1000) + 1;
  await until(() => expect(Date.now() / 1000).toBeGreaterThanOrEqual(time));
  return time;
}

/** The broker refuses a CONNECT because of the credential. */
export async function expectRefused(attempt: Promise<MqttPeer>, code = 4): Promise<void> {
  const outcome = attempt.then(
    (peer) => {
      peer.end();
      return "admitted";
    },
    (error: unknown) => (error as { code?: unknown }).code ?? String(error),
  );
  expect(await outcome).toBe(code);
}
