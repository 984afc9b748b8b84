/** A failed connection says why, whatever the number of addresses that a name has. */
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type LookupFunction } from "node:net";
import { expect, it } from "vitest";
import { whyUnreachable } from "../../shared/unreachable.ts";

/** What connecting to a name fails with that has these addresses, none of which listens. */
async function failureOf(...addresses: readonly string[]): Promise<unknown> {
  const gone = createServer().listen(0, "127.0.0.1");
  await once(gone, "listening");
  const { port } = gone.address() as AddressInfo;
  await new Promise((resolve) => gone.close(resolve));
  const lookup: LookupFunction = (_name, _options, found) =>
    found(
      null,
      addresses.map((address) => ({ address, family: 4 })),
    );
  const socket = connect({ host: "postern.example", port, lookup, autoSelectFamily: true });
  return new Promise((resolve) => socket.once("error", resolve));
}

it("of a name with one address", async () => {
  expect(whyUnreachable(await failureOf("127.0.0.1"))).toMatch(/^connect ECONNREFUSED 127\.0\.0\.1:\d+$/);
});

it("of a name with two", async () => {
  const failure = await failureOf("127.0.0.1", "127.0.0.2");
  expect(failure).toMatchObject({ message: "", code: "ECONNREFUSED" });
  expect(whyUnreachable(failure)).toMatch(
    /^connect ECONNREFUSED 127\.0\.0\.1:\d+; connect ECONNREFUSED 127\.0\.0\.2:\d+$/,
  );
});

it.each<[what: unknown, says: string]>([
  [new Error("socket hang up"), "socket hang up"],
  [new AggregateError([new Error("a"), new Error("b")], "both"), "both"],
  [new AggregateError([new AggregateError([new Error("a")]), "b"]), "a; b"],
  ["gone", "gone"],
  [undefined, "undefined"],
])("of %s", (what, says) => {
  expect(whyUnreachable(what)).toBe(says);
});
