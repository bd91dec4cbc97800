"""``python -m app`` serves; settings come from ``CAMEO_*`` environment variables, see app/config.py."""

import logging
import signal
import sys

import cv2
import uvicorn
from pydantic import ValidationError

from app.config import Settings
from app.main import create_app


def main() -> int:
    try:
        settings = Settings()
        logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        # OpenCV warns at every start that its new engine chooses the target itself.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        app = create_app(settings)
    except ValidationError as error:
        for problem in error.errors():
            name = "CAMEO_" + "_".join(map(str, problem["loc"])).upper()
            print(f"cameo: {name}={problem['input']}: {problem['msg']}", file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"cameo: {error}", file=sys.stderr)
        return 2
    # uvicorn finishes what it serves, then raises the signal again, whose default would report a death by signal.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # Requests are logged by the middleware, with their ids.
    uvicorn.run(app, host=settings.host, port=settings.port, access_log=False, log_config=None, server_header=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
