/**
 * The broker's register of connected clients, kept true where connections of one client id begin and end at the same moment:
 * who is connected is in it, so that the next with its id takes its place, and who is gone is not.
 */
import type { EngineBroker, EngineClient } from "./aedes-client.ts";

/** Keeps the register of a broker from now on. */
export function keepRegister(broker: EngineBroker): void {
  const current = new Map<string, EngineClient>();
  const register = broker.registerClient.bind(broker);
  // one that is closed before it is registered takes nobody's place
  broker.registerClient = (client) => {
    if (!client.closed) register(client);
  };
  broker.on("client", (client: EngineClient) => {
    if (client.closed) return broker.unregisterClient(client);
    current.set(client.id, client);
    broker.connectedClients = current.size;
  });
  // an end takes out whoever is in the register under its id
  broker.on("clientDisconnect", ({ id }: EngineClient) => {
    const other = current.get(id);
    if (other?.closed === false) broker.clients[id] = other;
    else current.delete(id);
    broker.connectedClients = current.size;
  });
}
