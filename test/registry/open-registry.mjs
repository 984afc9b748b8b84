/** Opens a registry and ends: `node open-registry.mjs <file>`. Says a word before it begins. */
import { openRegistry } from "../../dist/broker/registry/open-registry.js";
import { createMemoryTrust } from "../../dist/broker/trust/memory-trust.js";

process.send("ready");
openRegistry({ file: process.argv[2], sink: createMemoryTrust({ issuer: "" }) }).close();
process.disconnect();
