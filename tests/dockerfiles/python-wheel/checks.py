import unittest

from slug import slug


class Test(unittest.TestCase):
    def test_signs_become_one_dash(self):
        self.assertEqual(slug("  Hello,   World! "), "hello-world")
