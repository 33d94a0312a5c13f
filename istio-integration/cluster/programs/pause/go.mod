module kmesh.net/cluster/pause

go 1.26.0
