// Has a payment decided by the client that openapi-typescript made of the gateway's own description; what is not of its
// types is refused by the compiler.

import createClient from "openapi-fetch";
import type { paths } from "./made.js";

declare const process: { argv: string[] };

function check(holds: unknown, what: unknown): asserts holds {
  if (!holds) throw new Error(JSON.stringify(what));
}

const [url] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl: url });
const body = {
  transaction_id: "by-typescript",
  payer: "049.332.286-80",
  payee: "12.ABC.345/01DE-35",
  amount: "123.45",
  event_time: new Date().toISOString(),
};
const first = await client.POST("/v1/decisions", { body });
check(first.data?.verdict === "approve", first.error);
const again = await client.POST("/v1/decisions", { body });
check(again.data?.duplicate && again.data.lsn === first.data.lsn, again.error);
const path = { id: "by-typescript" };
const stored = await client.GET("/v1/decisions/{id}", { params: { path } });
check(stored.data?.amount_centavos === 12345, stored.error);
const missing = await client.GET("/v1/decisions/{id}", { params: { path: { id: "nobody" } } });
check(missing.error?.code === "NOT_FOUND" && missing.error.recorded === "no", missing.data);
const added = await client.POST("/v1/blacklist/changes", {
  body: { operation: "add", document: "049.332.286-80", scope: "exact" },
});
check(added.data?.changed, added.error);
console.log("made client of TypeScript: decided");
