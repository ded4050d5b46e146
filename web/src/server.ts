// What the page asks of servers: translations over gRPC-Web, and the load over plain HTTP of the page's own server.

import { createClient, type Client } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { TranslationService } from "./pb/translation_pb.js";

export type TranslationClient = Client<typeof TranslationService>;

/** Of all servers together, as service/client/web/load.py gives it. */
export interface Load {
  num_servers: number;
  slots_in_use: number;
  slots: number;
  queue_depth: number;
  tokens_per_s: number | null;
}

/** A client of the server that configuration.json names: an origin, or nothing for the one that serves the page. */
export async function connect(): Promise<TranslationClient> {
  const response = await fetch("configuration.json");
  const { server } = (await response.json()) as { server: string };
  return createClient(TranslationService, createGrpcWebTransport({ baseUrl: server || location.origin }));
}

/** Null where nobody tells it. */
export async function readLoad(signal: AbortSignal): Promise<Load | null> {
  try {
    const response = await fetch("load", { signal });
    return response.ok ? ((await response.json()) as Load) : null;
  } catch {
    return null;
  }
}
