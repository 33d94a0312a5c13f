import type { MessagePort } from 'node:worker_threads';
import type { SeriesBudget } from '../metrics/messages.ts';

/** What the control thread and the scrape thread say to each other. */
export interface ScrapeWorkerData {
  readonly host: string;
  readonly port: number;
  readonly reusePort: boolean;
  readonly budget: SeriesBudget;
  readonly droppedLines: BigInt64Array;
}

export type ToWorker =
  | { readonly kind: 'recorder'; readonly port: MessagePort }
  | { readonly kind: 'collected'; readonly question: number; readonly text: string }
  | { readonly kind: 'close'; readonly deadlineMilliseconds: number };

export type ToMain =
  | { readonly kind: 'listening'; readonly port: number; readonly address: string }
  | { readonly kind: 'failed'; readonly reason: string; readonly code: string | undefined }
  | { readonly kind: 'collect'; readonly question: number };
