from tests.supervision.families import family
from tests.supervision.fixtures import edge, talk

__all__ = ["edge", "family", "talk"]
