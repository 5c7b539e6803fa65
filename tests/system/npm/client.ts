// A client of larder whose types are made from /openapi.json. Its answers are for test_185_openapi.py, as JSON.
import createClient from "openapi-fetch";
import type { components, paths } from "./larder.js";

declare const process: { env: Record<string, string | undefined>; stdout: { write(text: string): void } };

const baseUrl = process.env.LARDER_URL ?? "";
const larder = createClient<paths>({ baseUrl });
const admin = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${process.env.LARDER_TOKEN}` } });
const told: Record<string, unknown> = {};

// A stock that is written, read, read again from the cache, and removed.
const put = await admin.PUT("/api/stocks/{ticker}", {
  params: { path: { ticker: "ZZTOP" } },
  body: { name: "Beards & Co", sector: "Music", price: 12.5, market_cap: null },
});
told.put = [put.response.status, put.data?.ticker, put.data?.price];

const read = await larder.GET("/api/stocks/{ticker}", { params: { path: { ticker: "ZZTOP" } } });
const ticker: string = read.data?.ticker ?? "";
const price: number | null = read.data?.price ?? null;
told.read = [read.response.status, ticker, price, read.response.headers.get("X-Cache")];

const etag = read.response.headers.get("ETag") ?? "";
const again = await larder.GET("/api/stocks/{ticker}", {
  params: { path: { ticker: "ZZTOP" }, header: { "If-None-Match": etag } },
});
told.again = again.response.status;

const changed = await admin.PUT("/api/stocks/{ticker}", {
  params: { path: { ticker: "ZZTOP" }, header: { "If-Match": '"0000000000000000"' } },
  body: { name: "Beards & Co", sector: "Music" },
});
const problem: components["schemas"]["Problem"] | undefined = changed.error;
told.changed = [changed.response.status, problem?.status, typeof problem?.detail];

const list = await larder.GET("/api/stocks/", { params: { query: { sort: "price", order: "desc", limit: 3 } } });
const names: (string | null)[] = (list.data?.items ?? []).map((item) => item.ticker);
told.list = [list.response.status, names.length, list.data?.count];

const removed = await admin.DELETE("/api/stocks/{ticker}", { params: { path: { ticker: "ZZTOP" } } });
told.removed = [removed.response.status, removed.data?.ticker];

const absent = await larder.GET("/api/stocks/{ticker}", { params: { path: { ticker: "ZZTOP" } } });
told.absent = [absent.response.status, absent.error?.title];

// Administration.
const purged = await admin.POST("/api/cache/invalidate", { body: { tag: "stocks" } });
told.purged = [purged.response.status, purged.data && "removed" in purged.data && purged.data.removed];

const denied = await larder.GET("/api/cache/keys", { params: { query: { match: "stocks:*" } } });
told.denied = [denied.response.status, denied.error?.status];

const keys = await admin.GET("/api/cache/keys", { params: { query: { match: "no such key", limit: 10 } } });
told.keys = [keys.response.status, keys.data?.keys, keys.data?.cursor];

// What is wrong is wrong for the compiler, too: each of these must be an error.
export const wrong = [
  // @ts-expect-error: no such path
  () => larder.GET("/api/stoks/{ticker}", { params: { path: { ticker: "A" } } }),
  // @ts-expect-error: a parameter is missing
  () => larder.GET("/api/stocks/{ticker}", {}),
  // @ts-expect-error: a choice that there is not
  () => larder.GET("/api/stocks/", { params: { query: { sort: "beard" } } }),
  // @ts-expect-error: of another type
  () => larder.GET("/api/stocks/", { params: { query: { limit: "three" } } }),
  // @ts-expect-error: no such method there
  () => larder.POST("/api/stocks/{ticker}", { params: { path: { ticker: "A" } } }),
  // @ts-expect-error: a member is missing
  () => admin.PUT("/api/stocks/{ticker}", { params: { path: { ticker: "A" } }, body: { name: "A" } }),
  // @ts-expect-error: a member of another type
  () => admin.POST("/api/cache/invalidate", { body: { tag: 5 } }),
];

process.stdout.write(JSON.stringify(told));
