"""What answers: engine processes behind one seam (`base`), Stoker's own and servers of other projects."""
