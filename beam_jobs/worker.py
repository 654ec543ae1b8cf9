"""A local worker process: Beam's SDK harness without its chatter on stderr; what fails comes back over the control channel."""

import logging
import sys


def main() -> None:
    """Serve the runner that started this process, until it closes the connection."""
    logging.disable(logging.CRITICAL)
    from apache_beam.runners.worker import sdk_worker_main  # its import already logs

    sdk_worker_main.main(sys.argv)


if __name__ == "__main__":
    main()
