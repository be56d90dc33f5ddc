"""The cluster: a study's fits as Ray's tasks, on the nodes of a cluster or the cores of this machine.

In go jobs, out come the same files as where fits are trained here: each epoch is on this machine's disk before the next
one but one begins, so that whatever ends, a worker, a node or this process, no fit loses more than an epoch.

connecting: joins a cluster, and asks each node whether it would compute what this machine would
desk: where fits hand over what they came to, and who brings that from there to disk
node: what is run on nodes: the outputs of a prefix, once, and fits
fits: the tasks of a study, sent again when what they ran on ended
progress: how many fits are done, run and wait, and for how long they will
"""
