import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decode, encode } from "../../shared/cbor.ts";
import {
  assertName,
  assertSlug,
  clientIdUrn,
  isCallerName,
  isClientIdOf,
  isHost,
  readClientId,
} from "../../shared/names.ts";
import {
  cutGrants,
  decodeScope,
  decodeScopeText,
  encodeScope,
  encodeScopeText,
  expandGrants,
  formatPermission,
  gatherGrants,
  intersectGrants,
  mayPublish,
  maySubscribe,
  mergeGrants,
  parsePermission,
  type Grant,
  readScopeNames,
} from "../../shared/scope.ts";
import { assertTopicFilter, assertTopicName, covers, intersectFilters } from "../../shared/topic.ts";
import { hasVectors, readVectors } from "../peers.ts";
import { hex, reasonOf, unhex } from "./reading.ts";

const level = fc.constantFrom("a", "b", "+", "", "$x");
const filter = fc
  .tuple(fc.array(level, { minLength: 1, maxLength: 4 }), fc.boolean())
  .map(([levels, hash]) => [...levels, ...(hash ? ["#"] : [])].join("/"))
  .filter((text) => text !== "");
const name = fc
  .array(fc.constantFrom("a", "b", "", "$x"), { minLength: 1, maxLength: 4 })
  .map((levels) => levels.join("/"))
  .filter((text) => text !== "");

/** MQTT 3.1.1, section 4.7, written down naively: whether a filter matches a topic name. */
function matches(pattern: string, topic: string): boolean {
  const p = pattern.split("/");
  const t = topic.split("/");
  if (topic.startsWith("$") && (p[0] === "+" || p[0] === "#")) return false;
  for (const [i, part] of p.entries()) {
    if (part === "#") return true;
    if (i >= t.length || (part !== "+" && part !== t[i])) return false;
  }
  return p.length === t.length;
}

describe("covers", () => {
  test("never allows a topic that the granted filter does not match", () => {
    fc.assert(
      fc.property(filter, filter, name, (granted, requested, topic) => {
        // covered and matched by what was asked implies matched by what was granted
        expect(covers(granted, requested) && matches(requested, topic) && !matches(granted, topic)).toBe(false);
      }),
      { numRuns: 20_000 },
    );
  });

  test("of a topic name it says what matching says", () => {
    fc.assert(
      fc.property(filter, name, (granted, topic) => {
        expect(covers(granted, topic)).toBe(matches(granted, topic));
      }),
      {
        numRuns: 5000,
      },
    );
  });

  test.each([
    ["a/#", "a", true],
    ["a/#", "a/+/c", true],
    ["a/#", "#", false],
    ["a/+", "a/#", false],
    ["a/b", "a/+", false],
    ["#", "$SYS/x", false],
    ["+/x", "$SYS/x", false],
    ["+", "/a", false],
    ["A/b", "a/b", false],
  ])("%s covers %s: %s", (granted, requested, allowed) => {
    expect(covers(granted, requested)).toBe(allowed);
  });

  test.skipIf(!hasVectors)("the table of filter pairs", () => {
    interface Row {
      readonly granted: string;
      readonly requested: string;
      readonly allowed: boolean;
    }
    const { cases } = readVectors<{ cases: Row[] }>("derived/filter-cover.json");
    expect(cases.length).toBeGreaterThan(25);
    for (const row of cases) {
      expect([row.granted, row.requested, covers(row.granted, row.requested)]).toEqual([
        row.granted,
        row.requested,
        row.allowed,
      ]);
    }
  });
});

describe("intersectFilters", () => {
  test("matches exactly what both match", () => {
    fc.assert(
      fc.property(filter, filter, name, (a, b, topic) => {
        const both = intersectFilters(a, b);
        // filters that differ in a leading $ are kept apart although `+` and `$x` could meet nowhere anyway
        expect(both !== undefined && matches(both, topic)).toBe(matches(a, topic) && matches(b, topic));
      }),
      { numRuns: 20_000 },
    );
  });

  test.each([
    ["a/#", "+/b", "a/b"],
    ["a/#", "a", "a"],
    ["a/+", "a/#", "a/+"],
    ["#", "a/+/c", "a/+/c"],
    ["a/b", "a/c", undefined],
    ["a", "a/b", undefined],
    ["#", "$SYS/#", undefined],
  ])("%s and %s: %s", (a, b, both) => {
    expect(intersectFilters(a, b)).toBe(both);
  });
});

describe("well-formed names and filters", () => {
  test.each([
    ["an empty name", "", "topic.name"],
    ["+ in a name", "a/+", "topic.name"],
    ["# in a name", "a/#", "topic.name"],
    ["NUL", "a\u0000b", "topic.name"],
    ["a control character", "a\u001fb", "topic.name"],
    ["a C1 control", "a\u0085b", "topic.name"],
    ["the replacement character", "a\ufffdb", "topic.name"],
    ["a non-character", "a\uffffb", "topic.name"],
    ["33 levels", Array(33).fill("a").join("/"), "topic.name"],
    ["513 bytes", "a".repeat(513), "topic.name"],
  ])("a name is refused for %s", (_name, topic, reason) => {
    expect(reasonOf(() => assertTopicName(topic))).toBe(reason);
  });

  test.each([
    ["", "topic.filter"],
    ["a#", "topic.filter"],
    ["+a", "topic.filter"],
    ["a+/b", "topic.filter"],
    ["a/#/b", "topic.filter"],
    ["##", "topic.filter"],
    ["a/\u0000", "topic.filter"],
  ])("the filter %j is refused", (text, reason) => {
    expect(reasonOf(() => assertTopicFilter(text))).toBe(reason);
  });

  test.each(["a", "/", "a//b", "+", "#", "+/+/#", "a/+/#", "ä/ü", Array(32).fill("a").join("/")])(
    "the filter %j is accepted",
    (text) => {
      expect(() => assertTopicFilter(text)).not.toThrow();
    },
  );
});

describe("AIF-MQTT (RFC 9431, section 2.3)", () => {
  const example: Grant[] = [
    { filter: "topic1", pub: true, sub: true },
    { filter: "topic2/#", pub: true, sub: false },
    { filter: "+/topic3", pub: false, sub: true },
  ];
  const cbor = "838266746f706963318263707562637375628268746f706963322f23816370756282682b2f746f706963338163737562";
  const text = "W1sidG9waWMxIixbInB1YiIsInN1YiJdXSxbInRvcGljMi8jIixbInB1YiJdXSxbIisvdG9waWMzIixbInN1YiJdXV0";

  test("the example in CBOR and as text", () => {
    expect(hex(encodeScope(example))).toBe(cbor);
    expect(decodeScope(unhex(cbor))).toEqual(example);
    expect(encodeScopeText(example)).toBe(text);
    expect(decodeScopeText(text)).toEqual(example);
  });

  test("an empty scope allows nothing", () => {
    expect(hex(encodeScope([]))).toBe("80");
    expect(mayPublish(decodeScope(unhex("80")), "a")).toBe(false);
  });

  test.each([
    ["no array", "a0"],
    ["an entry of one", "81816161"],
    ["no permission", "8182616180"],
    ["an unknown permission", "818261618163616c6c"],
    ["a filter that is no text", "8182018163707562"],
    ["a bad filter", "81826261238163707562"],
    ["bytes after it", "8000"],
  ])("refuses %s", (_name, bytes) => {
    expect(reasonOf(() => decodeScope(unhex(bytes)))).toBe("token.scope");
  });

  test.each(["", "W10=", "e30", "not json", "W1tdXQ"])("refuses the text %j", (value) => {
    expect(reasonOf(() => decodeScopeText(value))).toBe("token.scope");
  });

  test.skipIf(!hasVectors)("the vectors of RFC 9431 and the shape of RFC 9237", () => {
    const vector = readVectors<Record<string, string>>("derived/aif-mqtt.json");
    expect([vector["cbor"], vector["scope_for_jwt_base64url"]]).toEqual([cbor, text]);
    const aif = readVectors<Record<string, string>>("published/rfc9237-aif.json");
    expect(hex(encode(decode(unhex(aif["cbor"]!))))).toBe(aif["cbor"]);
  });
});

describe("grants", () => {
  const grant = fc
    .record({ filter, pub: fc.boolean(), sub: fc.boolean() })
    .filter((candidate) => candidate.pub || candidate.sub);

  test("merging changes nothing that is allowed", () => {
    fc.assert(
      fc.property(fc.array(grant, { maxLength: 6 }), name, (grants, topic) => {
        const merged = mergeGrants(grants);
        expect(mayPublish(merged, topic)).toBe(mayPublish(grants, topic));
        expect(maySubscribe(merged, topic)).toBe(maySubscribe(grants, topic));
        expect(merged.length).toBeLessThanOrEqual(grants.length);
      }),
      { numRuns: 5000 },
    );
  });

  test("an intersection allows what both allow and no more", () => {
    fc.assert(
      fc.property(
        fc.array(grant, { maxLength: 4 }),
        fc.array(grant, { maxLength: 4 }),
        name,
        (allowed, asked, topic) => {
          const both = intersectGrants(allowed, asked);
          expect(mayPublish(both, topic)).toBe(mayPublish(allowed, topic) && mayPublish(asked, topic));
          expect(maySubscribe(both, topic)).toBe(maySubscribe(allowed, topic) && maySubscribe(asked, topic));
        },
      ),
      { numRuns: 5000 },
    );
  });

  test("a cut allows what both allow and no more, and is the very list where it takes nothing away", () => {
    fc.assert(
      fc.property(
        fc.array(grant, { maxLength: 4 }),
        fc.array(grant, { maxLength: 4 }),
        name,
        (allowed, grants, topic) => {
          const cut = cutGrants(allowed, grants);
          expect(mayPublish(cut, topic)).toBe(mayPublish(allowed, topic) && mayPublish(grants, topic));
          expect(maySubscribe(cut, topic)).toBe(maySubscribe(allowed, topic) && maySubscribe(grants, topic));
          const isCovered = (one: Grant): boolean =>
            (!one.pub || allowed.some(({ pub, filter: own }) => pub && covers(own, one.filter))) &&
            (!one.sub || allowed.some(({ sub, filter: own }) => sub && covers(own, one.filter)));
          expect(cut === grants).toBe(grants.every(isCovered));
        },
      ),
      { numRuns: 5000 },
    );
  });

  test("gathered, they are one entry a filter, in order, and allow the same", () => {
    fc.assert(
      fc.property(fc.array(grant, { maxLength: 8 }), name, (grants, topic) => {
        const gathered = gatherGrants(grants);
        expect(mayPublish(gathered, topic)).toBe(mayPublish(grants, topic));
        expect(maySubscribe(gathered, topic)).toBe(maySubscribe(grants, topic));
        const filters = gathered.map((one) => one.filter);
        expect(filters).toEqual([...new Set(grants.map((one) => one.filter))].toSorted());
      }),
      { numRuns: 2000 },
    );
  });

  test("permissions are read and written as text", () => {
    for (const text of ["pub:a/b", "sub:a/#", "pubsub:${project}/${name}/+"]) {
      expect(formatPermission(parsePermission(text))).toBe(text);
    }
    for (const text of ["a/b", "all:a", "pub:", "pub:a#", "pub:${other}/a", "pub:a${client}", "pub:${client}${name}"]) {
      expect([text, reasonOf(() => parsePermission(text))]).toEqual([text, "registry.invalid"]);
    }
  });

  test("placeholders stand for whole levels", () => {
    expect(expandGrants([parsePermission("pub:${project}/${name}/up/${client}")], "home.pi-1")).toEqual([
      { filter: "home/pi-1/up/home.pi-1", pub: true, sub: false },
    ]);
  });
});

describe("names", () => {
  test.each(["home", "a1", "a-b", "a".repeat(31)])("the slug %s is accepted", (slug) => {
    expect(() => assertSlug(slug)).not.toThrow();
  });
  test.each(["", "a", "Home", "1a", "a.b", "a".repeat(32), "a b", "home\n"])("the slug %j is refused", (slug) => {
    expect(reasonOf(() => assertSlug(slug))).toBe("registry.invalid");
  });
  test.each(["", "-a", "a.b", "a/b", "a+", "a".repeat(64), "ä", "a\n"])("the name %j is refused", (text) => {
    expect(reasonOf(() => assertName(text))).toBe("registry.invalid");
  });

  test("a host is a name or an address, without port", () => {
    for (const good of ["localhost", "server.lan", "10.0.0.1", "::1", "fe80::1", "a_b.example"]) {
      expect([good, isHost(good)]).toEqual([good, true]);
    }
    for (const bad of [
      "",
      "a host",
      "-x.example",
      "https://localhost",
      "a\nb",
      "[::1]",
      "host:1",
      ":::",
      "a..b",
      "ä.example",
    ]) {
      expect([bad, isHost(bad)]).toEqual([bad, false]);
    }
  });

  test("a client id is project, dot, name", () => {
    expect(readClientId("home.Pi_1")).toEqual({ project: "home", name: "Pi_1" });
    expect(clientIdUrn("home.pi")).toBe("urn:postern:client:home.pi");
    for (const id of ["", "home", ".pi", "home.", "home.a.b", "Home.pi", "home.pi\n"]) {
      expect([id, reasonOf(() => readClientId(id))]).toEqual([id, "client-id.malformed"]);
    }
  });

  test.each([
    ["home.Pi_1", true],
    ["home/web", true],
    ["home", false],
    ["home/", false],
    ["home.a/b", false],
    ["home/a.b", false],
    ["Home/web", false],
    [".web", false],
    ["home/web\n", false],
    ["", false],
  ])("a caller may be called %j: %s", (text, isOne) => {
    expect(isCallerName(text)).toBe(isOne);
  });

  test.each([
    ["home.pi", true],
    ["home.pi:1", true],
    ["home.pi:web_socket-2", true],
    ["home.pi2", false],
    ["home.pi:", false],
    ["home.pi:a/b", false],
    ["home.pi:a:b", false],
    ["home.p", false],
    ["", false],
  ])("the MQTT client id %j is one of home.pi: %s", (id, allowed) => {
    expect(isClientIdOf(id, "home.pi")).toBe(allowed);
  });
});

describe("the names of an api of kind http (RFC 6749, section 3.3)", () => {
  test.each<[string, string[]]>([
    ["read", ["read"]],
    ["write read", ["write", "read"]],
    ["read read", ["read"]],
    ["urn:a/b!#[]~ x", ["urn:a/b!#[]~", "x"]],
  ])("%j are read", (text, names) => {
    expect([...readScopeNames(text)]).toEqual(names);
  });

  test.each(["", " ", " a", "a ", "a  b", "a\tb", "a\nb", 'a"', "a\\b", "\u007f", "ä"])("%j is refused", (text) => {
    expect(reasonOf(() => readScopeNames(text))).toBe("token.scope");
  });
});
