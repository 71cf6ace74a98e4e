"""Tools for developers of Paddock; none of them is part of the installed package."""
