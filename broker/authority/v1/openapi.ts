/**
 * The OpenAPI 3.1 document of the authority, written from the table of routes and the schemas that requests are parsed with;
 * the OAuth endpoints are those of `openapi-oauth.ts`, all other paths those of `openapi-public.ts`.
 */
import { z } from "zod";
import { meaningOf, type Reason } from "../../../shared/refusal.ts";
import type { Access } from "./access.ts";
import { oauthBytes, oauthOperations, oauthSchemas } from "./openapi-oauth.ts";
import { challenge, header, reference, unread, unreadAnswers, type Json } from "./openapi-parts.ts";
import { publicBytes, publicOperations, publicSchemas } from "./openapi-public.ts";
import { answered, sent } from "./registry-bodies.ts";
import type { Route } from "./registry-route.ts";
import { routes } from "./registry-table.ts";

/** Those that the table of `/v1` has not. */
const otherOperations = [...oauthOperations, ...publicOperations];

/** The document, ready to be sent as JSON but for `servers`, which are known once the authority listens. */
export function openApiDocument(): Json {
  const paths: Record<string, Record<string, Json>> = {};
  for (const route of routes) {
    (paths[toPath(route)] ??= {})[route.method.toLowerCase()] = toOperation(route);
  }
  for (const { path, method, operation } of otherOperations) (paths[path] ??= {})[method] = operation;
  return {
    openapi: "3.1.0",
    info: {
      title: "Postern",
      version: "1",
      description:
        "Tokens for devices and services, and the projects, apis, roles and clients behind them. A path answers a method that it has not with 405, and says in `Allow` which it has",
      license: { name: "MIT", identifier: "MIT" },
    },
    security: [{ admin: [] }],
    tags: tagsOf(routes),
    paths,
    components: {
      securitySchemes,
      responses: {
        ...Object.fromEntries(problems.map(([name, reason]) => [name, toProblem(name, reason)])),
        ...unreadAnswers,
      },
      schemas: {
        ...toSchemas({ ...sent, ...answered, ...oauthSchemas, ...publicSchemas }),
        ...oauthBytes,
        ...publicBytes,
        Problem: problem,
      },
    },
  };
}

const securitySchemes = {
  admin: { type: "http", scheme: "bearer", description: "the admin key, in `admin.key` of the data folder" },
  login: { type: "http", scheme: "bearer", description: "what POST /v1/login gives, `ps1_…`" },
  apiKey: { type: "http", scheme: "bearer", description: "a personal API key of a developer, `pk1_…`" },
  client: {
    type: "http",
    scheme: "basic",
    description: "id and secret of a client, or of an api as `<project>/<api>`",
  },
  certificate: { type: "mutualTLS", description: "the certificate of a device, or of a broker elsewhere" },
  ticket: { type: "http", scheme: "basic", description: "an empty user, and the secret of a ticket as password" },
};

/** Whose credential opens a row. */
const openedBy: Readonly<Record<"anyone" | "login" | "admin" | "developer", readonly Json[]>> = {
  anyone: [],
  login: [{ login: [] }],
  admin: [{ admin: [] }],
  developer: [{ admin: [] }, { login: [] }, { apiKey: [] }],
};

/** What a row wants, in words. */
const wanted: Readonly<Record<Access, string>> = {
  anyone: "Open to anybody.",
  developer: "For any developer, and the holder of the admin key.",
  login: "For a developer who has logged in; not for API keys.",
  admin: "For the holder of the admin key.",
  read: "For members of the project.",
  audit: "For owners, admins and auditors of the project.",
  enrol: "For owners, admins and enrollers of the project.",
  manage: "For owners and admins of the project.",
  own: "For owners of the project.",
};

/** The answers that a request can be refused with, by the reason that is typical of each. */
const problems = [
  ["Malformed", "request.malformed"],
  ["Unauthorized", "admin.key"],
  ["Forbidden", "access.permission"],
  ["NotFound", "registry.not-found"],
  ["Conflict", "registry.conflict"],
  ["Invalid", "registry.invalid"],
  ["TooMany", "rate.limited"],
] as const satisfies readonly (readonly [string, Reason])[];

type ProblemName = (typeof problems)[number][0];

function toOperation(route: Route): Json {
  return {
    tags: [tagOf(route)],
    summary: route.says,
    description: wanted[route.access],
    operationId: toOperationId(route),
    security: openedBy[route.access as keyof typeof openedBy] ?? openedBy.developer,
    parameters: [...pathParameters(route), ...queryParameters(route)],
    ...(route.sends === undefined ? {} : { requestBody: { required: true, content: json(reference(route.sends)) } }),
    responses: {
      ...toAnswers(route),
      ...Object.fromEntries(
        refusalsOf(route).map((name) => [
          String(meaningOf(problems.find(([known]) => known === name)![1]).http),
          { $ref: `#/components/responses/${name}` },
        ]),
      ),
      ...unread,
      default: { description: "refused", content: problemContent },
    },
  };
}

/** What a row can be refused with, as far as its shape says. */
function refusalsOf(route: Route): ProblemName[] {
  const isOpen = route.access === "anyone";
  const names = route.path.includes("/:");
  const makes = route.locate !== undefined;
  return [
    ...(route.sends === undefined ? [] : (["Malformed"] as const)),
    ...(isOpen ? [] : (["Unauthorized", "Forbidden"] as const)),
    ...(names ? (["NotFound"] as const) : []),
    ...(makes ? (["Conflict"] as const) : []),
    ...(route.sends === undefined && route.query === undefined ? [] : (["Invalid"] as const)),
    // whoever asks for changes waits in a line of a certain length
    ...(isOpen || route.method !== "GET" ? (["TooMany"] as const) : []),
  ];
}

function toAnswers({ answers, accepts, list, locate }: Route): Json {
  const later =
    accepts === undefined
      ? {}
      : { "202": { description: "the rest comes by mail", content: json(reference(accepts)) } };
  if (answers === undefined) return accepts === undefined ? { "204": { description: "done" } } : later;
  const content = json(list === true ? toList(reference(answers)) : reference(answers));
  if (locate === undefined) return { "200": { description: "found", content }, ...later };
  return {
    "201": { description: "created", headers: { location: { schema: { type: "string" } } }, content },
    ...later,
  };
}

function toList(items: Json): Json {
  const next = { type: "string", description: "there is more: ask again with it" };
  return { type: "object", properties: { items: { type: "array", items }, next }, required: ["items"] };
}

function toPath({ path }: Route): string {
  return path.replaceAll(/:([a-z]+)/g, "{$1}");
}

/** The first word of a path that is no project's name. */
function tagOf({ path }: Route): string {
  const words = path.split("/").filter((word) => word !== "" && word !== "v1" && !word.startsWith(":"));
  return (words[0] === "projects" ? words[1] : words[0]) ?? "projects";
}

function tagsOf(rows: readonly Route[]): Json[] {
  const names = new Set([...rows.map(tagOf), ...otherOperations.map(({ tag }) => tag)]);
  return [...names].map((name) => ({ name, description: `What there is of ${name}.` }));
}

function toOperationId({ method, path }: Route): string {
  const words = path.split("/").slice(2);
  return [method.toLowerCase(), ...words.map((word) => (word.startsWith(":") ? `by-${word.slice(1)}` : word))].join(
    "-",
  );
}

function pathParameters({ path }: Route): Json[] {
  return [...path.matchAll(/:([a-z]+)/g)].map(([, name]) => ({
    name,
    in: "path",
    required: true,
    schema: { type: "string" },
  }));
}

function queryParameters({ query }: Route): Json[] {
  if (query === undefined) return [];
  const { properties = {} } = toSchema(query) as { properties?: Record<string, Json> };
  return Object.entries(properties).map(([name, schema]) => ({ name, in: "query", required: false, schema }));
}

function toSchemas(schemas: Readonly<Record<string, z.ZodType>>): Record<string, Json> {
  return Object.fromEntries(Object.entries(schemas).map(([name, schema]) => [name, toSchema(schema)]));
}

/** As the sender sees it: what is left out by default is not required. */
function toSchema(schema: z.ZodType): Json {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: "input" });
  return rest;
}

function json(schema: Json): Json {
  return { "application/json": { schema } };
}

function toProblem(name: ProblemName, reason: Reason): Json {
  const headers =
    name === "Unauthorized"
      ? challenge
      : name === "TooMany"
        ? { "Retry-After": header("seconds until it may go better", { type: "integer" }) }
        : undefined;
  return { description: meaningOf(reason).says, ...(headers && { headers }), content: problemContent };
}

const problemContent = { "application/problem+json": { schema: reference("Problem") } };

/** RFC 9457, section 3. */
const problem: Json = {
  type: "object",
  properties: {
    type: { type: "string" },
    title: { type: "string" },
    status: { type: "integer" },
    id: { type: "string", description: "what `postern explain` takes" },
    detail: { type: "string" },
    errors: {
      type: "array",
      items: { type: "object", properties: { detail: { type: "string" }, pointer: { type: "string" } } },
    },
  },
  required: ["title", "status", "id"],
};
