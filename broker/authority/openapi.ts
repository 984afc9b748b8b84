/**
 * The OpenAPI 3.1 document of `/v1`, written from the table of routes and the schemas that requests are parsed with.
 */
import { z } from "zod";
import { answered, sent } from "./registry-bodies.ts";
import type { Route } from "./registry-route.ts";
import { routes } from "./registry-table.ts";

type Json = Readonly<Record<string, unknown>>;

/** The document, ready to be sent as JSON but for `servers`, which are known once the authority listens. */
export function openApiDocument(): Json {
  const paths: Record<string, Record<string, Json>> = {};
  for (const route of routes) {
    const path = route.path.replaceAll(/:([a-z]+)/g, "{$1}");
    (paths[path] ??= {})[route.method.toLowerCase()] = toOperation(route);
  }
  return {
    openapi: "3.1.0",
    info: { title: "Postern", version: "1", description: "Projects, apis, roles, clients and tickets of an authority" },
    security: [{ admin: [] }],
    paths,
    components: {
      securitySchemes: { admin: { type: "http", scheme: "bearer", description: "the admin key" } },
      schemas: { ...toSchemas(sent), ...toSchemas(answered), Problem: problem },
    },
  };
}

function toOperation(route: Route): Json {
  const status = route.answers === undefined ? "204" : route.locate === undefined ? "200" : "201";
  return {
    summary: route.says,
    operationId: toOperationId(route),
    parameters: [...pathParameters(route), ...queryParameters(route)],
    ...(route.sends === undefined ? {} : { requestBody: { required: true, content: json(reference(route.sends)) } }),
    responses: {
      [status]: toAnswer(route),
      default: {
        description: "refused",
        content: { "application/problem+json": { schema: reference("Problem") } },
      },
    },
  };
}

function toAnswer({ answers, list, locate }: Route): Json {
  if (answers === undefined) return { description: "done" };
  const schema = list === true ? toList(reference(answers)) : reference(answers);
  return {
    description: locate === undefined ? "found" : "created",
    ...(locate === undefined ? {} : { headers: { location: { schema: { type: "string" } } } }),
    content: json(schema),
  };
}

function toList(items: Json): Json {
  const next = { type: "string", description: "there is more: ask again with it" };
  return { type: "object", properties: { items: { type: "array", items }, next }, required: ["items"] };
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

function reference(name: string): Json {
  return { $ref: `#/components/schemas/${name}` };
}

function json(schema: Json): Json {
  return { "application/json": { schema } };
}

/** RFC 9457, section 3. */
const problem: Json = {
  type: "object",
  properties: {
    type: { type: "string" },
    title: { type: "string" },
    status: { type: "integer" },
    detail: { type: "string" },
    errors: {
      type: "array",
      items: { type: "object", properties: { detail: { type: "string" }, pointer: { type: "string" } } },
    },
  },
  required: ["title", "status"],
};
