/** Settings of a daemon that is installed on its own machine. */
import type { Host, Lab } from '@kmesh/lab';

/**
 * Returns the settings of each node's daemon. The lab's nodes share a machine, so the programs of each are attached to
 * its own cgroup: at the lab's, a connect would run those of all nodes. Pins, and with them the hand-off to the tunnel,
 * are set as the DaemonSet sets them.
 */
export async function asInstalled(
  lab: Lab,
): Promise<(host: Host) => { readonly KMESH_CGROUP: string; readonly KMESH_PINS: string }> {
  const pins = await lab.bpffs();
  return ({ name, cgroup }) => ({ KMESH_CGROUP: cgroup, KMESH_PINS: `${pins}/${name}` });
}
