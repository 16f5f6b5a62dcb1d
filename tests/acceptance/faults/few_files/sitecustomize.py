"""Every process may open few files: too few to register a champion."""

import resource

FILES = 14

_, _most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, _most))
