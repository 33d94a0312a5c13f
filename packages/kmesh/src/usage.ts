/** Text of `kmesh help`. */
export const usage = `usage: kmesh <command>

  proxy [ztunnel]   run the node proxy (also without a command); settings come from the environment
  demo              run a lab mesh on this machine and show its traffic
      --for DURATION    stop by itself, for instance after 10s
      --json            print one JSON object at the end, and no live view
      --local FILE      take the mesh from a local mesh file and not from the lab's istiod;
                        it is written first when it is not there, and followed while it is edited
  uninstall         detach and unpin the kernel path and remove what is in the pods' namespaces
  version           print build information
  help              print this; so does --help after any command, which then does nothing

Settings are listed in the README. kmeshctl shows what a running proxy knows, decides and carries.
`;
