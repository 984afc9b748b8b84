/**
 * What may be asked of the authority, for anybody: `GET /openapi.json` for programs, `GET /docs` for people.
 */
import type { FastifyInstance } from "fastify";
import { docsPage } from "./docs-page.ts";
import { openApiDocument } from "./openapi.ts";

/** Registers both. */
export function registerDocsRoutes(app: FastifyInstance, context: { readonly issuer: string }): void {
  const document = openApiDocument();
  const { html, policy } = docsPage(document);
  app.get("/openapi.json", (_request, reply) =>
    reply.header("x-content-type-options", "nosniff").send({ ...document, servers: [{ url: context.issuer }] }),
  );
  app.get("/docs", (_request, reply) =>
    reply
      .type("text/html; charset=utf-8")
      .header("content-security-policy", policy)
      .header("x-content-type-options", "nosniff")
      .header("referrer-policy", "no-referrer")
      .send(html),
  );
}
