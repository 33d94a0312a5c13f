/** Preloaded into a daemon: makes tcx links fail as on a kernel before Linux 6.6. */
import { addon } from '../../../../linux/src/addon.ts';

const TCX_INGRESS = 46;
const TCX_EGRESS = 47;
const EINVAL = 22;

const native = addon() as {
  -readonly [Name in keyof ReturnType<typeof addon>]: ReturnType<typeof addon>[Name];
};
const { linkCreate } = native;
native.linkCreate = (program, target, attachType, namespace) =>
  attachType === TCX_INGRESS || attachType === TCX_EGRESS
    ? -EINVAL
    : linkCreate(program, target, attachType, namespace);
