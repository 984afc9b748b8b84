/** How a client keeps up: who waits for it, for how long, and when it is given up. */
import { afterEach, describe, expect, it, vi } from "vitest";
import { notTaken } from "../../broker/mqtt/message.ts";

import { open, turns } from "./outbound-fixture.ts";

afterEach(() => {
  vi.useRealTimers();
});

describe("a reader that does not read", () => {
  it("is waited for a moment, then loses QoS 0 beyond a limit while nobody waits for it", async () => {
    const { peer, dropped, subscribe, deliver } = open({ sendBytes: 4000, holdMilliseconds: 1 });
    subscribe("#", 0);
    peer.isReading = false;
    const first = deliver("a", 0, "x".repeat(1500));
    expect(first.outcome).toBe("held");
    while (first.outcome === "held") await turns(1);
    expect(deliver("a", 0, "x".repeat(1500)).outcome).toBe(undefined);
    expect(deliver("a", 0, "x".repeat(1500)).outcome).toBe(undefined);
    expect(dropped).toEqual([]);
    expect(deliver("a", 0, "x".repeat(1500)).outcome).toBe(notTaken);
    expect(dropped).toEqual(["slow-reader"]);
  });

  it("holds nobody once it has caught up, and then again", async () => {
    const { peer, outbound, subscribe, deliver } = open({ sendBytes: 4000, holdMilliseconds: 60_000 });
    subscribe("#", 0);
    peer.isReading = false;
    const held = deliver("a", 0, "x".repeat(1500));
    await turns();
    expect([held.outcome, outbound.isReady]).toEqual(["held", true]);
    peer.readOn();
    await turns();
    expect(held.outcome).toBe(undefined);
    peer.isReading = false;
    expect(deliver("a", 0, "x".repeat(1500)).outcome).toBe("held");
    outbound.end();
  });

  it("is waited for longer when it reads much of what waits, though not all", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const { peer, outbound, subscribe, deliver } = open({ window: 8, waitingMessages: 16, holdMilliseconds: 2 });
    subscribe("#", 1);
    const held = Array.from({ length: 23 }, (_, n) => deliver("a", 1, String(n))).at(-1)!;
    for (let hold = 0; hold < 5; hold++) {
      await turns();
      // two acknowledged in each hold, and two more that wait
      for (const index of [2 * hold, 2 * hold + 1]) outbound.acknowledged(peer.idOf(index));
      deliver("a", 1, "more");
      deliver("a", 1, "more");
      vi.advanceTimersByTime(2);
      expect([held.outcome, outbound.isReady]).toEqual(["held", true]);
    }
    vi.advanceTimersByTime(2);
    expect([held.outcome, outbound.isReady]).toEqual([undefined, false]);
  });

  it("tells whoever brings retained messages nothing but that it may go on", () => {
    const { refused, subscribe, deliver, client } = open();
    subscribe("#", 1);
    const retained = { retain: true, brokerId: undefined };
    refused.add("no");
    expect(deliver("no", 1, "x", retained).outcome).toBe(undefined);
    (client as { closed: boolean }).closed = true;
    expect(deliver("a", 1, "x", retained).outcome).toBe(undefined);
  });

  it("is no member that a group should choose while it is behind, and is again when it has caught up", async () => {
    const { peer, outbound, subscribe, deliver } = open({ sendBytes: 1000, holdMilliseconds: 1 });
    subscribe("#", 0);
    peer.isReading = false;
    deliver("a", 0, "x".repeat(1500));
    while (outbound.isReady) await turns(1);
    peer.readOn();
    await turns();
    expect(outbound.isReady).toBe(true);
  });

  it("is disconnected when it reads nothing at all", async () => {
    const { peer, ended, subscribe, deliver } = open({ sendBytes: 1000, holdMilliseconds: 1, stallMilliseconds: 5 });
    subscribe("#", 0);
    peer.isReading = false;
    deliver("a", 0, "x".repeat(1500));
    while (ended.length === 0) await turns(1);
    expect(ended).toEqual(["the client does not read"]);
  });

  it("lets go of whoever waits for it when its connection ends", () => {
    const { peer, outbound, subscribe, deliver } = open({ sendBytes: 1000, holdMilliseconds: 60_000 });
    subscribe("#", 0);
    peer.isReading = false;
    const held = deliver("a", 0, "x".repeat(1500));
    outbound.end();
    expect(held.outcome).toBe(undefined);
  });

  it("gets retained messages one after the other, as it reads them, and loses none", async () => {
    const { peer, dropped, subscribe, deliver } = open({ sendBytes: 1000, holdMilliseconds: 1 });
    subscribe("#", 0);
    peer.isReading = false;
    const retained = { retain: true, brokerId: undefined };
    const first = deliver("a", 0, "1".repeat(1500), retained);
    const second = deliver("b", 0, "2".repeat(1500), retained);
    await turns(20);
    expect([first.outcome, second.outcome, dropped]).toEqual(["held", "held", []]);
    peer.readOn();
    while (second.outcome === "held") await turns(1);
    expect(peer.messages.map((text) => text.slice(0, 3))).toEqual(["a 1", "b 2"]);
  });
});
