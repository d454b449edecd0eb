"""A curation on a Ray cluster of two nodes on this machine, one of which dies after the first part.

python two_nodes.py SOURCE DESTINATION
"""

import os
import sys
import threading
import time
from pathlib import Path

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

from ray.cluster_utils import Cluster

from diffpc.curate.run import Places, curate
from diffpc.curate.settings import EngineSettings
from tests.curate.test_run import SETTINGS

NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 1000,
    "health_check_failure_threshold": 5,
}
HEAD = {**NODE, "include_dashboard": False, "_system_config": HEALTH}


def main() -> None:
    source, destination = Path(sys.argv[1]), Path(sys.argv[2])
    cluster = Cluster(initialize_head=True, head_node_args=HEAD)
    node = cluster.add_node(**NODE)

    def kill() -> None:
        while not list(destination.glob(".work/photos-*/part-*.parquet")):
            time.sleep(0.05)
        cluster.remove_node(node, allow_graceful=False)
        sys.stdout.write("killed a node\n")

    threading.Thread(target=kill, daemon=True).start()
    curate(Places(source, destination), SETTINGS, EngineSettings(address=cluster.address), lambda _: None)
    cluster.shutdown()


if __name__ == "__main__":
    main()
