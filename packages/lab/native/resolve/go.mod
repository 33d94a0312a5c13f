module kmesh/lab/resolve

go 1.19
