import { status } from '@grpc/grpc-js';
import { xds } from '@kmesh/api';
import type { AppliedResponse, Rejection } from './apply-response.ts';

/** Room for the names of bad resources; what does not fit is counted. */
const maximumTextLength = 512 * 1024;

/** The ACK or NACK of an applied response (ambient contract 3.3). */
export function answerTo(response: AppliedResponse): Buffer {
  const { typeUrl, nonce } = response.header;
  const answer: xds.DeltaDiscoveryRequest = { typeUrl, responseNonce: nonce };
  if (response.rejections.length > 0) {
    answer.errorDetail = {
      code: status.INVALID_ARGUMENT,
      message: rejectionText(response.rejections, maximumTextLength),
    };
  }
  return xds.DeltaDiscoveryRequest.encode(answer);
}

/** `name: reason; name: reason`, shortened with a count of the rest. */
export function rejectionText(rejections: readonly Rejection[], maximumLength: number): string {
  let text = '';
  for (const [index, { name, reason }] of rejections.entries()) {
    const item = `${index === 0 ? '' : '; '}${name}: ${reason}`;
    if (text.length + item.length > maximumLength) return `${text}; and ${rejections.length - index} more`;
    text += item;
  }
  return text;
}
