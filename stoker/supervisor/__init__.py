"""The lab's one light process: takes files in, queues jobs, gives work to the worker, ingests, recovers, concludes."""
