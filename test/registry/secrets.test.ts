import { describe, expect, it } from "vitest";
import { listAudit } from "../../broker/registry/audit.ts";
import { createClient, deleteClient } from "../../broker/registry/clients.ts";
import type { Registry } from "../../broker/registry/registry.ts";
import {
  checkInVain,
  checkSecret,
  createSecret,
  listSecrets,
  MAX_SECRETS,
  retireSecret,
  secretIdle,
  secretTtl,
  type NewSecret,
  type SecretOwner,
} from "../../broker/registry/secrets.ts";
import { NOW, openFarm, refusal, type Fixture } from "./fixture.ts";

const job: SecretOwner = { project: "farm", client: "job" };
const telemetry: SecretOwner = { project: "farm", api: "telemetry" };
const day = 86_400;

/** Client `job` with its first secret. */
function openJob(): Fixture & { readonly first: string } {
  const fixture = openFarm();
  const { secret } = createClient(fixture.r, { project: "farm", name: "job", kind: "service" });
  return { ...fixture, first: secret! };
}

function statuses(r: Registry, owner: SecretOwner = job): string[] {
  return listSecrets(r, owner).map(({ status }) => status);
}

describe("a secret", () => {
  it("is shown once and kept as its hash, for clients and for apis", () => {
    const { r } = openJob();
    for (const owner of [job, telemetry]) {
      const { record, secret } = createSecret(r, owner, { ttlSeconds: 60 }, "developer:dev_1");
      expect(secret).toMatch(/^[A-Za-z0-9_-]{43}$/);
      expect(record).toEqual({
        id: expect.stringMatching(/^[0-9a-f]{12}$/) as string,
        createdAt: NOW,
        expiresAt: NOW + 60,
        idleSeconds: secretIdle.default,
        lastUsedAt: null,
        status: "valid",
      });
      expect(checkSecret(r, owner, secret)).toBe(record.id);
      const [entry] = listAudit(r, { project: "farm", limit: 1 });
      const subject = owner === job ? "farm.job" : "farm/telemetry";
      expect(entry).toMatchObject({ event: "secret.created", actor: "developer:dev_1", subject });
      expect(entry?.facts).toEqual({ secret: record.id, expires: NOW + 60 });
      const rows = ["secret", "audit"].map((table) => r.db.prepare(`SELECT * FROM ${table}`).all());
      expect(JSON.stringify([rows, listSecrets(r, owner)])).not.toContain(secret);
    }
  });

  it.each<[string, SecretOwner, (secrets: { first: string; other: string; api: string }) => string]>([
    ["wrong", job, ({ first }) => `${first}x`],
    ["empty", job, () => ""],
    ["another client's", job, ({ other }) => other],
    ["an api's", job, ({ api }) => api],
    ["a client's, for the api", telemetry, ({ first }) => first],
    ["its own hash", job, ({ first }) => Buffer.from(first).toString("hex")],
    ["of a client that has none", { project: "farm", client: "pi-1" }, ({ first }) => first],
    ["of a client that is not there", { project: "farm", client: "none" }, ({ first }) => first],
  ])("that is %s is refused", (_, owner, choose) => {
    const { r, first } = openJob();
    const { secret } = createClient(r, { project: "farm", name: "other", kind: "app" });
    createClient(r, { project: "farm", name: "pi-1", kind: "device" });
    const chosen = choose({ first, other: secret!, api: createSecret(r, telemetry).secret });
    expect(() => checkSecret(r, owner, chosen)).toThrow(refusal("client.secret"));
    expect(() => checkInVain(chosen)).not.toThrow();
  });

  it.each<[string, NewSecret]>([
    ["ttl_seconds", { ttlSeconds: secretTtl.min - 1 }],
    ["ttl_seconds", { ttlSeconds: secretTtl.max + 1 }],
    ["ttl_seconds", { ttlSeconds: 60.5 }],
    ["idle_seconds", { idleSeconds: secretIdle.min - 1 }],
    ["idle_seconds", { idleSeconds: secretIdle.max + 1 }],
    ["idle_seconds", { idleSeconds: Number.NaN }],
  ])("is refused for %s in %j", (field, asked) => {
    const { r } = openJob();
    expect(() => createSecret(r, job, asked)).toThrow(refusal("registry.invalid", field));
    expect(statuses(r)).toEqual(["valid"]);
  });

  it("goes with its client", () => {
    const { r, first } = openJob();
    createSecret(r, telemetry);
    deleteClient(r, "farm.job");
    expect(() => checkSecret(r, job, first)).toThrow(refusal("client.secret"));
    expect(r.db.prepare("SELECT client, api FROM secret").all()).toEqual([{ client: null, api: "telemetry" }]);
  });
});

describe("several secrets", () => {
  it("are good at a time, up to five, newest first in the same second as well", () => {
    const { r, first } = openJob();
    const more = [1, 2, 3, 4].map(() => createSecret(r, job));
    expect(listSecrets(r, job).map(({ id }) => id)).toEqual([
      ...more.map(({ record }) => record.id).toReversed(),
      checkSecret(r, job, first),
    ]);
    for (const { secret, record } of more) expect(checkSecret(r, job, secret)).toBe(record.id);
    expect(statuses(r)).toHaveLength(MAX_SECRETS);
    expect(() => createSecret(r, job)).toThrow(refusal("limit.reached"));
    retireSecret(r, job, more[0]!.record.id);
    expect(createSecret(r, job).record.status).toBe("valid");
  });

  it("keep no more than the last that have ended", () => {
    const { r, first } = openJob();
    for (let i = 0; i < 40; i++) retireSecret(r, job, createSecret(r, job).record.id);
    expect(statuses(r)).toHaveLength(17);
    expect(checkSecret(r, job, first)).toMatch(/./);
  });
});

describe("a secret ends", () => {
  it("by hand, once, and only that of the owner", () => {
    const { r, first } = openJob();
    const { record, secret } = createSecret(r, job);
    expect(() => retireSecret(r, telemetry, record.id)).toThrow(refusal("registry.not-found"));
    expect(() => retireSecret(r, job, "none")).toThrow(refusal("registry.not-found"));
    retireSecret(r, job, record.id, "developer:dev_1");
    const rows = listAudit(r, { project: "farm", limit: 99 });
    expect(rows[0]).toMatchObject({ event: "secret.retired", actor: "developer:dev_1", facts: { secret: record.id } });
    retireSecret(r, job, record.id);
    expect(listAudit(r, { project: "farm", limit: 99 })).toEqual(rows);
    expect(() => checkSecret(r, job, secret)).toThrow(refusal("secret.retired", record.id));
    expect(statuses(r)).toEqual(["retired", "valid"]);
    expect(checkSecret(r, job, first)).toMatch(/./);
  });

  it("by its expiry, to the second, the newest as well", () => {
    const { r, clock } = openJob();
    const { secret } = createSecret(r, job, { ttlSeconds: 100 });
    clock.now = NOW + 99;
    expect(checkSecret(r, job, secret)).toMatch(/./);
    clock.now = NOW + 100;
    expect(() => checkSecret(r, job, secret)).toThrow(refusal("secret.expired"));
    expect(statuses(r)).toEqual(["expired", "valid"]);
  });

  it("by whichever came first, and is called by that for good", () => {
    const { r, clock } = openJob();
    createSecret(r, job, { ttlSeconds: day });
    createSecret(r, job, { ttlSeconds: 8 * day });
    createSecret(r, job);
    clock.now = NOW + 100 * day;
    expect(statuses(r)).toEqual(["valid", "retired", "expired", "retired"]);
  });

  it("unused for its idle time beside a newer one, and not alone", () => {
    const { r, clock, first } = openJob();
    clock.now = NOW + 100 * day;
    expect(checkSecret(r, job, first)).toMatch(/./);
    const { secret } = createSecret(r, job);
    // the use that was written down may have gone on for a minute
    clock.now = NOW + 107 * day + 59;
    expect(statuses(r)).toEqual(["valid", "valid"]);
    clock.now = NOW + 107 * day + 60;
    expect(statuses(r)).toEqual(["valid", "retired"]);
    expect(() => checkSecret(r, job, first)).toThrow(refusal("secret.retired"));
    clock.now = NOW + 900 * day;
    expect(checkSecret(r, job, secret)).toMatch(/./);
  });

  it("not while it is used", () => {
    const { r, clock, first } = openJob();
    createSecret(r, job);
    for (let days = 0; days < 30; days += 6) {
      clock.now = NOW + days * day;
      expect(checkSecret(r, job, first)).toMatch(/./);
    }
    expect(statuses(r)).toEqual(["valid", "valid"]);
  });

  it("for good: what becomes of the newer one changes nothing", () => {
    const { r, clock, first } = openJob();
    const { record } = createSecret(r, job, { ttlSeconds: 20 * day });
    clock.now = NOW + 8 * day;
    expect(statuses(r)).toEqual(["valid", "retired"]);
    const newest = createSecret(r, job);
    retireSecret(r, job, record.id);
    expect(() => checkSecret(r, job, first)).toThrow(refusal("secret.retired"));
    retireSecret(r, job, newest.record.id);
    clock.now = NOW + 30 * day;
    expect(statuses(r)).toEqual(["retired", "retired", "retired"]);
    expect(() => checkSecret(r, job, first)).toThrow(refusal("secret.retired"));
  });

  it("not by a newer one that was gone before the idle time was over", () => {
    const { r, clock, first } = openJob();
    const { record } = createSecret(r, job);
    clock.now = NOW + 6 * day;
    retireSecret(r, job, record.id);
    clock.now = NOW + 60 * day;
    expect(checkSecret(r, job, first)).toMatch(/./);
  });

  it("by its own idle time, not that of the newer one", () => {
    const { r, clock } = openJob();
    const { secret } = createSecret(r, job, { idleSeconds: 60 });
    createSecret(r, job, { idleSeconds: 300 * day });
    clock.now = NOW + 60;
    expect(() => checkSecret(r, job, secret)).toThrow(refusal("secret.retired"));
    expect(statuses(r)).toEqual(["valid", "retired", "valid"]);
  });
});

describe("the last use", () => {
  const written = (r: Registry): unknown => r.db.prepare("SELECT last_used_at FROM secret").pluck().get();

  it("is written at most once a minute, and changes nothing else", () => {
    const { r, clock, first } = openJob();
    let changes = 0;
    r.onChange(() => changes++);
    for (const [after, expected] of [
      [0, 0],
      [59, 0],
      [60, 60],
      [119, 60],
      [500, 500],
    ] as const) {
      clock.now = NOW + after;
      checkSecret(r, job, first);
      expect([after, written(r)]).toEqual([after, NOW + expected]);
    }
    expect(changes).toBe(0);
    expect(listSecrets(r, job)[0]?.lastUsedAt).toBe(NOW + 500);
    expect(listAudit(r, { project: "farm", limit: 1 })[0]?.event).toBe("secret.created");
  });

  it("is not that of a secret that was refused", () => {
    const { r, clock } = openJob();
    expect(() => checkSecret(r, job, "x")).toThrow(refusal("client.secret"));
    retireSecret(r, job, listSecrets(r, job)[0]!.id);
    clock.now += 90;
    expect(written(r)).toBeNull();
  });

  it("keeps nobody out when it cannot be written, and is tried again a minute later", () => {
    const { r, clock, first } = openJob();
    r.db.pragma("query_only = true");
    expect(checkSecret(r, job, first)).toMatch(/./);
    expect(written(r)).toBeNull();
    r.db.pragma("query_only = false");
    clock.now = NOW + 60;
    checkSecret(r, job, first);
    expect(written(r)).toBe(NOW + 60);
  });

  it("is noticed by a rule that remembers: a secret in use does not retire", () => {
    const { r, clock, first } = openJob();
    createSecret(r, job, { idleSeconds: 60 });
    retireSecret(r, job, listSecrets(r, job)[0]!.id);
    const { secret } = createSecret(r, job, { idleSeconds: 60 });
    createSecret(r, job);
    for (let seconds = 0; seconds < 600; seconds += 50) {
      clock.now = NOW + seconds;
      expect(checkSecret(r, job, secret)).toMatch(/./);
    }
    expect(checkSecret(r, job, first)).toMatch(/./);
    clock.now += 120;
    expect(() => checkSecret(r, job, secret)).toThrow(refusal("secret.retired"));
  });
});
